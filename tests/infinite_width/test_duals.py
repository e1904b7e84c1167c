"""Oracles: Gaussian integrals by quadrature, Price's theorem by autodiff, limits at c = 1 and -1, homogeneity."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

DUALS = {
    "identity": iw.dual_activation("identity"),
    "relu": iw.dual_activation("relu"),
    "leaky": iw.rectifier_dual(0.2, 1.3),
    "abs": iw.dual_activation("abs"),
    "square": iw.rectified_monomial_dual(2),
    "fifth": iw.rectified_monomial_dual(5),
    "erf": iw.erf_dual(1.3, 0.7, 0.2),
    "sigmoid_erf": iw.dual_activation("sigmoid_erf"),
    "gelu": iw.dual_activation("gelu"),
    "sine": iw.sine_dual(1.2, 0.8, 0.3),
    "cos": iw.dual_activation("cos"),
    "rbf": iw.rbf_dual(0.4),
    "exponential": iw.exponential_dual(0.8, 0.5),
    "bump": iw.gaussian_dual(1.1, -0.6),
    "growing": iw.gaussian_dual(1.0, 0.05),
    "sine_gaussian": iw.sine_gaussian_dual(),
    "polynomial": iw.polynomial_dual((0.3, -0.5, 0.2, 0.1)),
    "hermite": iw.hermite_dual(4),
    "tanh": iw.quadrature_dual(jnp.tanh),
    "sign": iw.sign_dual(),
    "step": iw.step_dual(),
}
SMOOTH = [name for name, dual in DUALS.items() if dual.smooth]
each = pytest.mark.parametrize("name", DUALS)
Q1, Q2 = np.array([0.6, 1.3, 0.9, 2.0]), np.array([1.1, 0.7, 0.9, 1.5])
K = np.sqrt(Q1 * Q2) * np.array([0.6, -0.4, 0.97, 0.0])


def expectation(function, q1, q2, k):
    """E[function(u) function(v)]: in the plane of u and v, by angle and radius, so that kinks at 0 lie on rays."""
    radii, weights = np.polynomial.laguerre.laggauss(80)  # r^2 / 2 is exponential
    radii = np.sqrt(2 * radii)
    nodes, angular = np.polynomial.legendre.leggauss(60)
    c = k / np.sqrt(q1 * q2)
    zero = np.arctan2(-c, np.sqrt(1 - c**2))  # where v changes sign
    edges = np.sort(np.mod([np.pi / 2, 3 * np.pi / 2, zero, zero + np.pi], 2 * np.pi))
    edges = np.append(edges, edges[0] + 2 * np.pi)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        angle = (low + high) / 2 + (high - low) / 2 * nodes
        u = np.sqrt(q1) * radii[:, None] * np.cos(angle)
        v = np.sqrt(q2) * radii[:, None] * (c * np.cos(angle) + np.sqrt(1 - c**2) * np.sin(angle))
        values = function(u) * function(v)
        total += weights @ values @ angular * (high - low) / 2
    return total / (2 * np.pi)


@functools.cache
def program(name):
    """V, V', dV/dk, a scalar of both parts and its gradient, compiled once for arrays of four."""
    dual = DUALS[name]

    def total(q1, q2, k):
        return sum(jnp.sum(jnp.sin(part)) for part in dual.both(q1, q2, k))

    def everything(q1, q2, k):
        slope = jax.grad(lambda k: jnp.sum(dual.value(q1, q2, k)))(k)
        return *dual.both(q1, q2, k), slope, *jax.value_and_grad(total, (0, 1, 2))(q1, q2, k)

    return jax.jit(everything)


@each
def test_the_dual_is_the_gaussian_integral(name, x64):
    function = lambda x: np.asarray(DUALS[name].activation(jnp.asarray(x)))
    truth = [expectation(function, *point) for point in zip(Q1, Q2, K, strict=True)]
    np.testing.assert_allclose(program(name)(Q1, Q2, K)[0], truth, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_derivative_is_the_integral_of_the_derivatives_and_prices_theorem_holds(name, x64):
    _, slope, by_autodiff, *_ = program(name)(Q1, Q2, K)
    np.testing.assert_allclose(slope, by_autodiff, rtol=1e-9, atol=1e-12)
    derivative = jax.vmap(jax.grad(DUALS[name].activation))
    function = lambda x: np.asarray(derivative(jnp.asarray(x).ravel())).reshape(np.shape(x))
    truth = [expectation(function, *point) for point in zip(Q1, Q2, K, strict=True)]
    np.testing.assert_allclose(slope, truth, rtol=3e-5, atol=3e-6)


@each
def test_gradients_agree_with_differences(name, x64):
    h, run = 1e-6, program(name)
    for i, slope in enumerate(run(Q1, Q2, K)[4]):
        step = h * np.eye(3)[i]
        at = lambda sign, step=step: run(Q1 + sign * step[0], Q2 + sign * step[1], K + sign * step[2])[3]
        np.testing.assert_allclose(slope.sum(), (at(1) - at(-1)) / (2 * h), rtol=1e-6, atol=1e-8)


@each
def test_equal_inputs_give_the_formula_of_the_diagonal_and_no_nan_in_gradients(name, x64):
    dual, q = DUALS[name], np.array([0.0, 1e-3, 0.5, 3.0])
    rounding = 1e-9 if dual.smooth else 1e-7  # an angle is the root of one minus its cosine
    diagonal = dual.diagonal(jnp.asarray(q))
    np.testing.assert_allclose(program(name)(q, q, q)[0][1:], diagonal[1:], rtol=rounding)
    assert jnp.isfinite(diagonal).all()
    for sign in (1, -1):
        assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(program(name)(q, q, sign * q)))


def test_the_gradient_of_relu_at_equal_inputs_is_that_of_the_diagonal(x64):
    gradient = jax.grad(lambda q: DUALS["relu"].value(q, q, q))(jnp.array(1.7))
    np.testing.assert_allclose(gradient, 0.5, rtol=1e-15)


@pytest.mark.parametrize("name", ["relu", "leaky", "abs"])
def test_rectifiers_are_homogeneous_also_where_products_of_variances_overflow(name):
    dual = DUALS[name]
    q1, q2, k = (jnp.asarray(a, jnp.float32) for a in (Q1, Q2, K))
    scale = jnp.float32(2.0**80)
    np.testing.assert_allclose(dual.value(scale * q1, scale * q2, scale * k), scale * dual.value(q1, q2, k), rtol=1e-5)


@pytest.mark.parametrize("name", ["erf", "gelu", "sine", "relu"])
def test_quadrature_of_the_function_agrees_with_the_closed_form(name, x64):
    """A kink costs accuracy: the tail of its Hermite series."""
    dual, tolerance = DUALS[name], 2e-3 if name == "relu" else 1e-8
    both = iw.quadrature_dual(dual.activation, degree=60).both
    ours, truth = (jax.jit(f)(Q1[:2], Q2[:2], K[:2]) for f in (both, dual.both))
    np.testing.assert_allclose(ours[0], truth[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours[1], truth[1], rtol=10 * tolerance, atol=10 * tolerance)


def test_matrices_by_quadrature_are_positive_semidefinite(x64):
    x = jax.random.normal(jax.random.key(0), (12, 2))
    k = x @ x.T / 2
    q = jnp.diagonal(k)
    values = iw.quadrature_dual(jnp.tanh, degree=8).value(q[:, None], q[None], k)
    assert jnp.linalg.eigvalsh(values).min() > -1e-14


def test_hermite_polynomials_of_unit_variance_give_powers(x64):
    c = jnp.linspace(-1, 1, 5)
    one = jnp.ones(5)
    for degree in (0, 1, 5, 30):
        value, slope = iw.hermite_dual(degree).both(one, one, c)
        np.testing.assert_allclose(value, c**degree, atol=1e-12)
        np.testing.assert_allclose(slope, degree * c ** max(degree - 1, 0), atol=1e-12)


def test_rectified_powers_have_the_kernels_of_neural_tangents_between_inputs(x64):
    x = jnp.sin(1 + 0.7 * jnp.arange(12) + 0.013 * jnp.arange(12) ** 2).reshape(3, 4)
    dense = iw.dense(1, weight_std=1.3, bias_std=0.2)
    stored = {
        iw.rectified_monomial_dual(2): (0.0409915131845, 0.0181931284074),
        iw.rectified_monomial_dual(3): (0.0402245769637, 0.0329998536345),
        iw.normalized_exponential_dual(1.4, -0.6): (0.22532494496, -0.00865388032133),
    }
    for dual, pair in stored.items():
        ours = iw.network_kernel(iw.serial(dense, iw.activation(dual), dense), x, get="both")
        np.testing.assert_allclose([kernel[0, 1] for kernel in ours], pair, rtol=1e-10)
    first, relu = iw.rectified_monomial_dual(1), iw.rectifier_dual()
    np.testing.assert_allclose(first.value(Q1, Q2, K), relu.value(Q1, Q2, K), rtol=1e-12)
    np.testing.assert_allclose(first.derivative(Q1, Q2, K), relu.derivative(Q1, Q2, K), rtol=1e-12)


def test_the_normalized_exponential_is_the_mean_over_channels(x64):
    """Of unit root mean square, at which it is a Hermite series; its variance and V' = dV/dk otherwise."""
    dual = iw.normalized_exponential_dual(0.5, -0.7)
    u, v = jax.random.normal(jax.random.key(0), (2, 400_000))
    v = 0.6 * u + 0.8 * v
    products = dual.activation(3 * u) * dual.activation(v)
    error = products.std() / len(products) ** 0.5
    np.testing.assert_allclose(products.mean(), dual.value(9.0, 1.0, 1.8), atol=5 * error)
    slope = jax.grad(lambda k: jnp.sum(dual.value(Q1, Q2, k)))(jnp.asarray(K))
    np.testing.assert_allclose(dual.derivative(Q1, Q2, K), slope, rtol=1e-12)
    np.testing.assert_allclose(dual.value(Q1, Q1, Q1), dual.diagonal(Q1), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("activation", lambda: iw.dual_activation("swish")),
        ("activation", lambda: iw.quadrature_dual(jnp.sum)),
        ("degree", lambda: iw.quadrature_dual(jnp.tanh, degree=0)),
        ("degree", lambda: iw.hermite_dual(-1)),
        ("coefficients", lambda: iw.polynomial_dual(())),
        ("coefficients", lambda: iw.polynomial_dual((1.0, float("nan")))),
        ("positive", lambda: iw.rectifier_dual(0.0, float("inf"))),
        ("gamma", lambda: iw.rbf_dual(0.0)),
        ("gamma", lambda: iw.normalized_exponential_dual(0.0)),
        ("shift", lambda: iw.normalized_exponential_dual(1.0, float("nan"))),
        ("degree", lambda: iw.rectified_monomial_dual(0)),
        ("b", lambda: iw.erf_dual(1.0, float("nan"))),
    ],
)
def test_bad_activations_are_named(name, call):
    with pytest.raises(ValueError, match=f"{name} must be"):
        call()
