"""Oracles: Jacobians leaf by leaf, methods against each other, infinite width, Taylor series by hand."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.infinite_width.ntk_structured import structured_ntk
from jaxlib_methods.nn import mlp_apply, mlp_init

STD = dict(weight_std=1.3, bias_std=0.2)
TANH = iw.activation(jnp.tanh)
CNN = iw.serial(
    iw.conv(4, (3, 3), strides=(2, 2), padding="SAME", **STD),
    TANH,
    iw.residual(iw.conv(4, (2, 1), padding="CIRCULAR", parametrization="standard"), TANH),
    iw.local_conv(5, (2, 2), **STD),
    TANH,
    iw.dense(3, **STD),
    iw.avg_pool((2, 1)),
    iw.flatten(),
    iw.dense(3, **STD),
)
FORMS = ("trace", "diagonal", "full")


def draw(network, shape, n, m):
    x = jax.random.normal(jax.random.key(0), (n + m, *shape), jnp.float64)
    return network.init(jax.random.key(1), shape, jnp.float64)[0], x[:n], x[n:]


def brute_force(apply, params, x1, x2):
    left, right = (jax.tree.leaves(jax.jacobian(apply)(params, x)) for x in (x1, x2))
    flat = lambda j: j.reshape(*j.shape[:2], -1)
    return sum(jnp.einsum("aip,bjp->abij", flat(a), flat(b)) for a, b in zip(left, right, strict=True))


def reduced(theta):
    diagonal = jnp.diagonal(theta, axis1=2, axis2=3)
    return {"full": theta, "diagonal": diagonal, "trace": diagonal.mean(-1)}


def test_all_methods_give_the_product_of_jacobians_in_all_forms_and_products_need_no_kernel(x64):
    params, x1, x2 = draw(CNN, (6, 6, 2), 3, 5)
    v = jax.random.normal(jax.random.key(2), (5, 3), jnp.float64)

    @jax.jit
    def run(x1, x2, v):
        call = lambda **options: iw.empirical_ntk(CNN.apply, params, x1, x2, **options)
        ours = [
            {form: call(method=method, outputs=form) for form in FORMS}
            for method in ("jacobian", "products", "structured")
        ]
        truth = brute_force(CNN.apply, params, x1, x2)
        product = iw.ntk_product(CNN.apply, params, x1, v, x2, block=2)
        return ours, truth, product

    ours, truth, product = run(x1, x2, v)
    for method in ours:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), method, reduced(truth))
    np.testing.assert_allclose(product, jnp.einsum("abij,bj->ai", truth, v), rtol=1e-10)


@pytest.mark.parametrize(("n", "kept"), [(1, 2**28), (8, 0), (9, 2**28)])
def test_symmetric_kernels_are_the_same_in_blocks_in_parts_and_by_halves(x64, monkeypatch, n, kept):
    """Blocks of 7 parameters, parts of the inputs, and half of the products, for even and odd numbers of inputs."""
    module = importlib.import_module("jaxlib_methods.infinite_width.empirical_ntk")
    monkeypatch.setattr(module, "BLOCK", 7 * 6 * n)
    monkeypatch.setattr(module, "AT_ONCE", kept)
    network = iw.serial(iw.conv(3, (2,), **STD), TANH, iw.flatten(), iw.dense(6, **STD))
    params, x, _ = draw(network, (4, 2), n, 0)

    @jax.jit
    def run(x):
        call = lambda **options: iw.empirical_ntk(network.apply, params, x, **options)
        ours = [{form: call(method=method, outputs=form) for form in FORMS} for method in ("jacobian", "products")]
        return ours, reduced(brute_force(network.apply, params, x, x))

    ours, truth = run(x)
    for method in ours:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), method, truth)


def test_few_positions_are_paired_and_many_are_summed_before(x64):
    """Both ways of a convolution, by one and by 36 positions of a wide and of a narrow filter."""
    for width, channels, size in ((40, 30, 2), (2, 2, 6)):
        network = iw.serial(iw.conv(width, (2, 2), padding="SAME"), TANH, iw.flatten(), iw.dense(2))
        params, x, _ = draw(network, (size, size, channels), 2, 0)

        @jax.jit
        def run(x, network=network, params=params):
            call = lambda form: iw.empirical_ntk(network.apply, params, x, method="structured", outputs=form)
            return {form: call(form) for form in FORMS}, reduced(brute_force(network.apply, params, x, x))

        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), *run(x))


def test_weights_used_elsewhere_too_are_left_to_their_jacobians(x64):
    """One matrix at two taps, one at a tap and beside it, one bias at a tap alone."""

    def apply(params, x, *, taps=iw.PLAIN):
        h = jnp.tanh(taps.dense(x, params["twice"]))
        h = jnp.tanh(taps.dense(h, params["twice"]) + x @ params["beside"])
        return taps.bias(taps.dense(h, params["beside"]), params["once"])

    normal = lambda i, *shape: jax.random.normal(jax.random.key(i), shape, jnp.float64)
    params = {"twice": normal(0, 3, 3), "beside": normal(1, 3, 3), "once": normal(2, 3), "count": jnp.array(3)}
    x = normal(3, 4, 3)
    floats = {name: value for name, value in params.items() if name != "count"}
    truth = brute_force(lambda p, x: apply(p | {"count": 3}, x), floats, x, x)
    ours = iw.empirical_ntk(apply, params, x, method="structured", outputs="full")
    np.testing.assert_allclose(ours, truth, rtol=1e-12)
    assert structured_ntk(apply, params, x, None, "full")[1] == [0, 3]  # beside, twice


def test_one_array_at_two_places_is_two_parameters(x64):
    def apply(params, x, *, taps=iw.PLAIN):
        return taps.dense(x, params["tapped"]) + jnp.sin(x) @ params["beside"] ** 2

    w, x = jax.random.normal(jax.random.key(0), (3, 2)), jax.random.normal(jax.random.key(1), (4, 3))
    params = {"tapped": w, "beside": w}
    ours = iw.empirical_ntk(apply, params, x, method="structured", outputs="full")
    np.testing.assert_allclose(ours, brute_force(apply, params, x, x), rtol=1e-12)


def test_any_function_has_a_kernel_and_the_cheapest_method_is_taken(x64):
    x = jax.random.normal(jax.random.key(0), (5, 3), jnp.float64)
    params = mlp_init(jax.random.key(1), (3, 8, 2))
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    truth = reduced(brute_force(mlp_apply, params, x, x))["trace"]
    np.testing.assert_allclose(iw.empirical_ntk(mlp_apply, params, x), truth, rtol=1e-10)
    wide = iw.serial(iw.dense(512), TANH, iw.dense(512), TANH, iw.dense(10))
    shapes = jax.eval_shape(lambda key: wide.init(key, (256,))[0], jax.random.key(0))
    costs = iw.ntk_costs(wide.apply, shapes, jax.ShapeDtypeStruct((64, 256), jnp.float32))
    assert min(costs, key=costs.get) == "structured"
    assert costs["structured"] < costs["products"] / 50
    plain = iw.ntk_costs(lambda p, x: wide.apply(p, x), shapes, jax.ShapeDtypeStruct((64, 256), jnp.float32))
    assert set(plain) == {"jacobian", "products"}


def wide_networks(width):
    relu, erf, gelu = (iw.activation(name) for name in ("relu", "erf", "gelu"))
    dense = iw.serial(iw.dense(4 * width, **STD), relu, iw.dense(4 * width, **STD), erf, iw.dense(1, **STD))
    conv = lambda size: iw.conv(width, (size,), padding="SAME", **STD)
    mixed = iw.serial(conv(3), gelu, conv(2), iw.residual(relu, conv(2)), relu, iw.avg_pool((2,)), iw.flatten())
    return {"dense": (dense, (5,)), "convolutional": (iw.serial(mixed, iw.dense(1, **STD)), (4, 2))}


@pytest.mark.parametrize("name", ["dense", "convolutional"])
def test_random_wide_networks_have_the_infinite_kernels_within_four_standard_errors(name):
    """8 draws of width 512 or 128 and fixed keys; 4 % are allowed for the bias of order 1 / width."""
    network, shape = wide_networks(128)[name]
    x = jax.random.normal(jax.random.key(3), (3, *shape))
    truth = iw.network_kernel(network, x)
    sampled = jax.jit(lambda key: iw.kernel_from_samples(key, network.init, network.apply, x, samples=8))(
        jax.random.key(4)
    )
    assert jnp.all(jnp.abs(sampled.mean - truth) < 4 * sampled.error + 0.04 * truth.max())


def test_kernels_of_outputs_are_sampled_for_layers_without_closed_form():
    """The maximum over a window of one is the identity, whose kernel is known."""
    with_pool = iw.serial(iw.dense(256), iw.max_pool((1,)), iw.flatten())
    x = jax.random.normal(jax.random.key(0), (3, 2, 4))
    sampled = iw.kernel_from_samples(jax.random.key(1), with_pool.init, with_pool.apply, x, samples=50, get="nngp")
    truth = iw.network_kernel(iw.serial(iw.dense(1), iw.flatten()), x, get="nngp")
    assert jnp.all(jnp.abs(sampled.mean - truth) < 4 * sampled.error)
    assert jnp.all(sampled.error < 0.03)


def test_taylor_polynomials_are_exact_for_polynomials_and_the_first_is_the_tangent(x64):
    apply = lambda p, x: {"y": p["w"] ** 3 * x + p["b"] * p["w"]}
    p0, p1 = {"w": jnp.array(1.5), "b": jnp.array(0.5)}, {"w": jnp.array(2.0), "b": jnp.array(-1.0)}
    x = jnp.arange(3.0)
    tangent = apply(p0, x)["y"] + 0.5 * (3 * 1.5**2 * x + 0.5) - 1.5 * 1.5
    np.testing.assert_allclose(iw.linearize(apply, p0)(p1, x)["y"], tangent, rtol=1e-13)
    np.testing.assert_allclose(iw.taylor_expand(apply, p0, 3)(p1, x)["y"], apply(p1, x)["y"], rtol=1e-13)
    np.testing.assert_allclose(iw.taylor_expand(apply, p0, 0)(p1, x)["y"], apply(p0, x)["y"], rtol=1e-13)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("method must be", lambda f, p, x: iw.empirical_ntk(f, p, x, method="fast")),
        ("outputs must be", lambda f, p, x: iw.empirical_ntk(f, p, x, outputs="all")),
        ("apply must be", lambda f, p, x: iw.empirical_ntk(f, p, x, method="structured")),
        ("params must be", lambda f, p, x: iw.empirical_ntk(f, jnp.ones((3, 2), int), x)),
        ("v must be", lambda f, p, x: iw.ntk_product(f, p, x, jnp.ones((4, 3)))),
        ("block must be", lambda f, p, x: iw.ntk_product(f, p, x, jnp.ones((4, 2)), block=0)),
        ("degree must be", lambda f, p, x: iw.taylor_expand(f, p, -1)),
        ("samples must be", lambda f, p, x: iw.kernel_from_samples(jax.random.key(0), None, f, x, samples=1)),
        ("got max_pool: .* kernel_from_samples", lambda f, p, x: iw.network_kernel(iw.max_pool((2,)), x[None])),
        ("got batch_norm: .* kernel_from_samples", lambda f, p, x: iw.network_kernel(iw.batch_norm(), x)),
        ("eps must be", lambda f, p, x: iw.batch_norm(eps=-1.0)),
        ("padding must be", lambda f, p, x: iw.max_pool((2,), padding="CIRCULAR")),
    ],
)
def test_bad_arguments_are_named(message, call):
    with pytest.raises(ValueError, match=message):
        call(lambda w, x: x @ w, jnp.ones((3, 2)), jnp.ones((4, 3)))
