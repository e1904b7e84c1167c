"""Several inputs of networks with a kink, against closed forms, differences, random numbers and random networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.infinite_width.criticality.joint_nodes import kinked_rule, root
from jaxlib_methods.infinite_width.criticality.layer_means import node_means
from jaxlib_methods.infinite_width.criticality.multi_input import _curvature, _derivative
from jaxlib_methods.infinite_width.criticality.scale_invariant import scale_invariant_means

pytestmark = pytest.mark.usefixtures("x64")

SCALES = iw.LayerScales(0.1, 1.5, 0.7, 0.9)
KERNEL = np.array([[1.2, 0.5, 0.9], [0.5, 0.9, 0.1], [0.9, 0.1, 1.0]])
FIELDS = iw.MultiInputTheory._fields
LEAKY = (1.0, 0.1)
several = jax.jit(functools.partial(iw.multi_input_recursion, depth=3), static_argnames="activation")
means_of = jax.jit(scale_invariant_means, static_argnums=0)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear", "selu"])
def test_coinciding_inputs_are_one_and_opposite_inputs_are_no_exception(name):
    tolerance = 1e-6 if name == "selu" else 1e-10
    one = iw.single_input_recursion(SCALES, jnp.array(1.2), activation=name, depth=3)
    same = several(SCALES, np.array([[1.2, 1.2, -1.2], [1.2, 1.2, -1.2], [-1.2, -1.2, 1.2]]), activation=name)
    for field in FIELDS:
        ours = np.asarray(getattr(same, field))
        ours = ours[np.ix_(range(3), *[(0, 1)] * (ours.ndim - 1))].reshape(3, -1)
        np.testing.assert_allclose(
            ours, np.broadcast_to(getattr(one, field)[:, None], ours.shape), tolerance, tolerance
        )
        assert np.isfinite(getattr(same, field)).all()


def test_relu_has_the_closed_forms_of_its_critical_point():
    """V_aaaa = 5 (l - 1) K^2, the arc-cosine kernel; and everything scales with the inputs."""
    scales = iw.LayerScales(0.0, 2.0, 0.0, 1.0)
    theory, larger = (several(scales, s * KERNEL, activation="relu") for s in (1.0, 4.0))
    k, own = KERNEL, np.diag(KERNEL)
    np.testing.assert_allclose(np.einsum("laaaa->la", theory.vertex), 5 * np.arange(3)[:, None] * own**2, rtol=1e-12)
    angle = np.arccos(np.clip(k / np.sqrt(own[:, None] * own), -1, 1))
    arc = np.sqrt(own[:, None] * own) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    np.testing.assert_allclose(theory.kernel[1], arc, rtol=1e-7)
    np.testing.assert_allclose(theory.ntk[1], arc / 2 + k / 2 * (1 - angle / np.pi), rtol=1e-7)
    for field in FIELDS:
        power = 1 if field in ("kernel", "ntk", "kernel_shift") else 2
        np.testing.assert_allclose(getattr(larger, field), 4**power * getattr(theory, field), rtol=1e-10, atol=1e-12)


def test_linear_networks_of_any_number_of_inputs_have_gaussian_vertices():
    k = np.random.default_rng(0).normal(size=(6, 4))
    k = k @ k.T
    theory = several(iw.LayerScales(0.0, 1.0), k, activation="linear")
    pairs = np.einsum("ac,bd->abcd", k, k) + np.einsum("ad,bc->abcd", k, k)
    np.testing.assert_allclose(theory.vertex, np.arange(3).reshape(3, 1, 1, 1, 1) * pairs, rtol=1e-10, atol=1e-10)


def test_exchanged_inputs_are_exchanged_and_covariances_semidefinite():
    order = np.array([2, 0, 1])
    theory, other = (several(SCALES, k, activation="leaky_relu") for k in (KERNEL, KERNEL[np.ix_(order, order)]))
    for ours, theirs in zip(theory, other, strict=True):
        moved = np.asarray(ours)[np.ix_(range(3), *[order] * (ours.ndim - 1))]
        np.testing.assert_allclose(theirs, moved, rtol=1e-10, atol=1e-12)
    for tensor in (theory.vertex, theory.ntk_variance):
        np.testing.assert_allclose(tensor, jnp.transpose(tensor, (0, 3, 4, 1, 2)), rtol=1e-10, atol=1e-12)
        assert np.linalg.eigvalsh(iw.pair_matrix(tensor[-1])).min() > 0
    assert (np.einsum("aaaa->a", theory.ntk_off_diagonal[-1]) > 0).all()


@pytest.mark.parametrize("rank", [1, 2])
def test_dependent_inputs_are_the_limit_of_independent_ones(rank):
    """Inputs on a line or in a plane, and moved by about 1e-3: everything changes by as much."""
    x = np.random.default_rng(1).normal(size=(3, rank))
    apart = np.concatenate([x, 1e-3 * np.eye(3)], 1)
    exact, near = (several(SCALES, y @ y.T, activation="relu") for y in (x, apart))
    for ours, theirs in zip(exact, near, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(theirs).max())


def test_four_numbers_have_the_means_of_random_ones():
    """A million draws, five standard errors."""
    rng = np.random.default_rng(0)
    k = rng.normal(size=(4, 6))
    k = k @ k.T / 6
    m = means_of(LEAKY, k)
    z = rng.multivariate_normal(np.zeros(4), k, size=1_000_000)
    s, s1 = np.where(z > 0, z, LEAKY[1] * z), np.where(z > 0, 1, LEAKY[1])
    outer = lambda p, q: p[:, :, None, None] * q[None, None]
    value, mixed, slope = (
        m.value_values + outer(m.values, m.values),
        m.slope_values + outer(m.slopes, m.values),
        m.slope_slopes + outer(m.slopes, m.slopes),
    )
    for a, b, c, d in ((0, 1, 2, 3), (0, 0, 1, 2), (0, 2, 0, 2), (3, 3, 3, 1)):
        for ours, draws in (
            (value, s[:, a] * s[:, b] * s[:, c] * s[:, d]),
            (mixed, s1[:, a] * s1[:, b] * s[:, c] * s[:, d]),
            (slope, s1[:, a] * s1[:, b] * s1[:, c] * s1[:, d]),
        ):
            assert abs(ours[a, b, c, d] - draws.mean()) < 5 * draws.std() / 1000


def split_means(name):
    sigma = iw.activation_function(name)
    return jax.jit(lambda kernel: node_means(sigma, *kinked_rule(root(kernel), None), kernel))


def test_nodes_between_kinks_give_the_closed_means():
    by_nodes, closed = split_means("leaky_relu")(jnp.asarray(KERNEL)), means_of(LEAKY, KERNEL)
    for ours, exact in zip(by_nodes, closed, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-7)


@pytest.mark.parametrize("means", [functools.partial(means_of, LEAKY), split_means("selu")])
def test_derivatives_in_the_kernel_are_those_of_differences(means):
    kernel, h = jnp.asarray(KERNEL[:2, :2]), 1e-4
    move = jnp.array([[0.3, -0.2], [-0.2, -0.4]])
    low, here, high = (means(kernel + e * move) for e in (-h, 0, h))
    slope = lambda field: (getattr(high, field) - getattr(low, field)) / (2 * h)
    np.testing.assert_allclose(_derivative(here.two, here.slopes, move), slope("values"), rtol=1e-6)
    np.testing.assert_allclose(_derivative(here.three, here.bends, move), slope("slopes"), rtol=1e-5, atol=1e-7)
    bend = (high.values - 2 * here.values + low.values) / h**2
    np.testing.assert_allclose(_curvature(here, jnp.einsum("ab,cd->abcd", move, move)), bend, atol=3e-6)


def test_derivatives_of_the_vertex_are_differences_and_finite_where_inputs_coincide():
    vertex = lambda k: iw.multi_input_recursion(SCALES, k, activation="relu", depth=2).vertex[-1]
    run = jax.jit(lambda k, move: jax.jvp(vertex, (k,), (move,)))
    kernel, move, h = jnp.asarray(KERNEL), jnp.array([[0.3, -0.2, 0.5], [-0.2, -0.4, 0.1], [0.5, 0.1, 0.7]]), 1e-5
    slope = (run(kernel + h * move, move)[0] - run(kernel - h * move, move)[0]) / (2 * h)
    np.testing.assert_allclose(run(kernel, move)[1], slope, rtol=1e-6, atol=1e-8)
    assert np.isfinite(run(jnp.full((3, 3), 1.2), move)[1]).all()


def test_four_signs_of_equal_correlations_have_the_known_chance_of_being_equal():
    """Of correlations 1/2 all four numbers are positive in one case of five, so <s s s s> is also 1/5."""
    signs = means_of((1.0, -1.0), 0.5 * (np.eye(4) + 1))
    fourfold = signs.slope_slopes[0, 1, 2, 3] + signs.slopes[0, 1] * signs.slopes[2, 3]
    np.testing.assert_allclose(fourfold, 0.2, rtol=1e-12)


DEPTH = 3


@functools.partial(jax.jit, static_argnames=("width", "networks"))
def networks_of(key, kernel, center, ntk, *, width, networks):
    """Statistics of random ReLU networks: fluctuations of the metric and of the NTK's diagonal, and B and F."""
    c_b, c_w, l_b, l_w = SCALES
    eye, root = jnp.eye(width), jnp.linalg.cholesky(kernel)

    def network(key):
        z = root @ jax.random.normal(key, (len(kernel), width))
        h = (l_b + l_w * (kernel - c_b) / c_w)[:, :, None, None] * eye[None, None]
        for l in range(1, DEPTH):
            one, two = jax.random.split(jax.random.fold_in(key, l))
            weight = (c_w / width) ** 0.5 * jax.random.normal(one, (width, width))
            s, slopes = jnp.maximum(z, 0), weight[None] * (z > 0)[:, None]
            z = s @ weight.T + c_b**0.5 * jax.random.normal(two, (1, width))
            square = s @ s.T / width
            h = jnp.einsum("aik,abkm,bjm->abij", slopes, h, slopes)
            h += (l_b + l_w * square)[:, :, None, None] * eye[None, None]
        own = jnp.einsum("abii->abi", h) - ntk[:, :, None]
        mean, off, apart = own.mean(-1), h * (1 - eye)[None, None], width * (width - 1)
        several = width**2 * jnp.einsum("ab,cd->abcd", mean, mean) - jnp.einsum("abi,cdi->abcd", own, own)
        b, f = jnp.einsum("abij,cdij->acbd", off, off), jnp.einsum("abij,ci,dj->acbd", off, z, z)
        return c_b + c_w * square - center, mean, several / apart, b / apart, f / apart

    return jax.lax.map(network, jax.random.split(key, networks), batch_size=50)


def _estimates(statistics, n):
    """V, D, A, B, F in units of 1 / n, and standard errors."""
    g, h, hh, b, f = (np.asarray(a, float) for a in statistics)
    outer = lambda p, q: np.einsum("...ab,...cd->...abcd", p, q)

    def connected(product, p, q):
        p0, q0 = p.mean(0), q.mean(0)
        values = product - outer(p, q0) - outer(p0, q)
        return values.mean(0) + outer(p0, q0), values.std(0)

    found = [connected(outer(g, g), g, g), connected(outer(h, g), h, g), connected(hh, h, h)]
    found += [(a.mean(0), a.std(0)) for a in (b, f)]
    return [(n * mean, n * deviation / len(g) ** 0.5) for mean, deviation in found]


def test_random_networks_have_the_tensors_within_five_standard_errors():
    """Widths 12 and 24, extrapolated."""
    theory = several(SCALES, KERNEL, activation="relu")
    with jax.enable_x64(False):
        arguments = [np.asarray(a, "float32") for a in (KERNEL, theory.kernel[-1], theory.ntk[-1])]
        narrow, wide = (
            _estimates(networks_of(jax.random.key(n), *arguments, width=n, networks=3000), n) for n in (12, 24)
        )
    names = ("vertex", "ntk_kernel", "ntk_variance", "ntk_off_diagonal", "ntk_outputs")
    for name, (low, low_error), (high, high_error) in zip(names, narrow, wide, strict=True):
        error = np.hypot(2 * high_error, low_error)
        truth = np.asarray(getattr(theory, name)[-1])
        assert (np.abs(2 * high - low - truth) < 5 * error).all(), name
        assert error.max() < 0.15 * np.abs(truth).max(), name
