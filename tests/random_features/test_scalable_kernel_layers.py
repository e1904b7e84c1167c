"""Oracles: exact algebra, brute force, other optimisers of the same loss, one device against eight, half precision."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from jaxlib_methods.nn import Dense, mlp_init
from jaxlib_methods.random_features import (
    FourierKernel,
    PowerSeriesKernel,
    ReluKernel,
    SnnkParams,
    adapter_apply,
    adapter_init,
    bundle,
    cosine_spectrum,
    fit_bundled,
    fit_logistic,
    fit_margin,
    gaussian_spectrum,
    gelu_series,
    logistic_spectrum,
    merge_linear,
    rescale_rows,
    snnk_apply,
    snnk_features,
    snnk_init,
    snnk_weight_features,
    tanh_spectrum,
    tower_apply,
    tower_init,
)
from jaxlib_methods.runtime import Checkpointer

COS, RELU = FourierKernel(cosine_spectrum()), ReluKernel()
REAL_COS = FourierKernel(cosine_spectrum(), "weight")
KERNELS = [RELU, COS, REAL_COS, FourierKernel(logistic_spectrum(), "input"), PowerSeriesKernel(gelu_series(4))]

static = lambda function, *names: jax.jit(function, static_argnames=names)
apply, adapter = static(snnk_apply, "kernel"), static(adapter_apply, "kernel")
phi, psi_of = static(snnk_features, "kernel"), static(snnk_weight_features, "kernel")
init = static(snnk_init, "num_features", "kernel", "law")


def inputs(n=12, d=5, norm=0.6, seed=0, dtype=None):
    return rescale_rows(jax.random.normal(jax.random.key(seed), (n, d), dtype), norm)


def dense(seed, i, o, size=0.3):
    weight_key, bias_key = jax.random.split(jax.random.key(seed))
    return Dense(size * jax.random.normal(weight_key, (i, o)), size * jax.random.normal(bias_key, (o,)))


def layer(kernel, m=16, d=5, l=3):
    first = dense(1, d, l)
    return init(jax.random.key(2), first.weight, first.bias, num_features=m, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_layer_is_the_product_of_its_features_and_a_constant(kernel, x64):
    params, constants = layer(kernel)
    ours = apply(params, constants, inputs(), kernel=kernel)
    first = dense(1, 5, 3)
    psi = psi_of(constants, first.weight, first.bias, kernel=kernel)
    truth = kernel.offset + phi(constants, inputs(), kernel=kernel) @ psi
    np.testing.assert_allclose(ours, truth, rtol=1e-12)
    cube = apply(params, constants, inputs().reshape(2, 2, 3, 5), kernel=kernel)
    np.testing.assert_allclose(cube.reshape(12, 3), ours, rtol=1e-13)


def test_many_features_give_the_dense_layer_within_five_standard_errors(x64):
    """tanh of 4 harmonics at |x| = 0.6: per-feature variance below 3, so the error stays under 5 (3 / m)^(1/2)."""
    kernel = FourierKernel(tanh_spectrum(), "input")
    params, constants = layer(kernel, m=40_000)
    first = dense(1, 5, 3)
    truth = kernel.spectrum.function(inputs() @ first.weight + first.bias[None])
    assert jnp.abs(apply(params, constants, inputs(), kernel=kernel) - truth).max() < 5 * (3 / 40_000) ** 0.5


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_linear_map_merges_into_the_layer(kernel, x64):
    params, constants = layer(kernel)
    second = dense(3, 3, 4)
    unbundled = apply(params, constants, inputs(), kernel=kernel) @ second.weight + second.bias[None]
    merged = merge_linear(params, second)
    assert merged.psi.shape == (kernel.width(16), 4)
    np.testing.assert_allclose(apply(merged, constants, inputs(), kernel=kernel), unbundled, rtol=1e-12)


def unbundled_network(tower, layers, x, *, kernels):
    """Unit by unit: every layer's kernel of the inputs' tower and the weights' tower, next layer from its outputs."""
    outputs, units = x, None
    for i, (constants, kernel) in enumerate(zip(tower, kernels, strict=True)):
        weight, bias = layers[i]
        if units is None:
            columns, shifts = weight.T, bias
        else:
            columns = jnp.stack([sum(w * unit for w, unit in zip(row, units, strict=True)) for row in weight.T])
            shifts = bias + weight.T @ jnp.full(len(units), kernels[i - 1].offset)
        outputs = phi(constants, outputs, kernel=kernel)
        units = [
            psi_of(constants, column[:, None], shift[None], kernel=kernel)[:, 0]
            for column, shift in zip(columns, shifts, strict=True)
        ]
    hidden = jnp.stack([outputs @ unit for unit in units], 1) + kernels[-1].offset
    return hidden @ layers[-1].weight + layers[-1].bias[None] if len(layers) > len(kernels) else hidden


@pytest.mark.parametrize("linear_end", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_a_bundled_network_is_the_unbundled_one(dtype, tolerance, linear_end, x64):
    kernels = (REAL_COS, FourierKernel(logistic_spectrum(half_period=8.0, num_harmonics=2)), RELU)
    sizes = (5, 4, 3, 4, 2) if linear_end else (5, 4, 3, 4)
    layers = [dense(i, *pair, 0.1) for i, pair in enumerate(itertools.pairwise(sizes))]
    tower = tower_init(jax.random.key(0), 5, (16, 24, 12), kernels=kernels)
    layers, tower, x = jax.tree.map(lambda a: a.astype(dtype), (layers, tower, inputs()))

    @jax.jit
    def bundled(tower, layers, x):
        params = bundle(tower, layers, kernels=kernels)
        outputs = tower_apply(tower, x, kernels=kernels) @ params.psi
        return outputs if params.shift is None else outputs + params.shift[None]

    ours = bundled(tower, layers, x)
    truth = jax.jit(functools.partial(unbundled_network, kernels=kernels))(tower, layers, x)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, truth, rtol=tolerance, atol=tolerance)


def test_the_second_layer_is_unbiased_given_the_first_within_four_standard_errors(x64):
    """E over the second layer's draws of the bundled output is f2(W2 h1 + b2) of the first layer's output h1."""
    kernels, layers = (REAL_COS, COS), [dense(1, 3, 4, 0.2), dense(2, 4, 2, 0.2)]
    x = inputs(3, 3)
    first = tower_init(jax.random.key(0), 3, (8,), kernels=kernels[:1])
    hidden = tower_apply(first, x, kernels=kernels[:1]) @ bundle(first, layers[:1], kernels=kernels[:1]).psi
    truth = jnp.cos(hidden @ layers[1].weight + layers[1].bias[None])

    def output(key):
        tower = (*first, tower_init(key, 8, (200,), kernels=kernels[1:])[0])
        return tower_apply(tower, x, kernels=kernels) @ bundle(tower, layers, kernels=kernels).psi

    values = jax.jit(jax.vmap(output))(jax.random.split(jax.random.key(3), 300))
    assert jnp.all(jnp.abs(values.mean(0) - truth) < 4 * values.std(0) / 300**0.5)
    assert values.std(0).max() < 1


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bottleneck", [None, 2])
def test_a_new_adapter_changes_nothing_and_can_learn(kernel, bottleneck, x64):
    params, constants = adapter_init(jax.random.key(0), 5, 8, kernel=kernel, bottleneck=bottleneck, law="gaussian")
    x = inputs().reshape(3, 4, 5)
    np.testing.assert_array_equal(adapter(params, constants, x, kernel=kernel), x)
    loss = lambda p: jnp.sum((adapter(p, constants, x, kernel=kernel) - 1) ** 2)
    gradient = jax.grad(loss)(params)
    assert jnp.abs(gradient.gate).max() > 0
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
    assert loss(stepped) < loss(params)


def test_adapters_have_as_many_numbers_as_stated():
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    params, _ = jax.eval_shape(lambda k: adapter_init(k, 768, 8, kernel=RELU), jax.random.key(0))
    assert (count(params), 24 * count(params)) == (6_912, 165_888)
    params, _ = jax.eval_shape(lambda k: adapter_init(k, 768, 8, kernel=RELU, bottleneck=48), jax.random.key(0))
    assert count(params) == 48 * 8 + 48 * 768


def test_constants_receive_no_gradient_and_layers_draw_their_own():
    params, constants = layer(COS)
    loss = lambda p, c: jnp.sum(apply(p, c, inputs(), kernel=COS) ** 2)
    to_params, to_constants = jax.grad(loss, (0, 1))(params, constants)
    assert jnp.abs(to_params.psi).max() > 0
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(to_constants))
    tower = tower_init(jax.random.key(0), 5, (6, 6), kernels=(RELU, RELU))
    assert jnp.abs(tower[0].projections - tower[1].projections[:, :5]).min() > 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_parameters_and_constants_come_back_from_a_checkpoint(kernel, tmp_path):
    params, constants = layer(kernel)
    state = {"params": params, "constants": constants}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
    with Checkpointer(tmp_path) as checkpointer:
        _, restored = checkpointer.restore(jax.tree.map(jnp.zeros_like, state))
    ours = apply(restored["params"], restored["constants"], inputs(), kernel=kernel)
    np.testing.assert_array_equal(ours, apply(params, constants, inputs(), kernel=kernel))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_features_of_half_precision_models_are_those_of_single_precision(kernel, dtype):
    params, constants = layer(kernel)
    half = inputs().astype(dtype)
    features = phi(constants, half, kernel=kernel)
    assert features.dtype == jnp.float32
    np.testing.assert_array_equal(features, phi(constants, half.astype(jnp.float32), kernel=kernel))
    params = jax.tree.map(lambda a: a.astype(dtype), params)
    y = apply(params, constants, half, kernel=kernel)
    assert y.dtype == dtype
    truth = apply(jax.tree.map(lambda a: a.astype(jnp.float32), params), constants, half, kernel=kernel)
    np.testing.assert_allclose(y.astype(jnp.float32), truth.astype(jnp.float32), rtol=1e-2)


def digits_like(n=60, p=8, o=3):
    z = jax.random.normal(jax.random.key(5), (n, p))
    labels = jnp.argmax(z @ jax.random.normal(jax.random.key(6), (p, o)) + 0.5, 1)
    return z, jax.nn.one_hot(labels, o, dtype=z.dtype)


def optimum(loss, start, rate):
    """What gradient descent with momentum converges to."""
    optimizer = optax.sgd(rate, momentum=0.95, nesterov=True)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=3000)[0][0])(start)


def test_the_fit_of_squares_is_the_trained_optimum_and_that_of_scikit_learn(x64):
    kernels, x = (REAL_COS, RELU), inputs(60)
    tower = tower_init(jax.random.key(0), 5, (10, 8), kernels=kernels, dtype=jnp.float64)
    _, y = digits_like()
    weights = jnp.arange(60) % 4 + 0.0
    ours = fit_bundled(tower, x, y, 0.3, weights, kernels=kernels, block=7).psi
    z = tower_apply(tower, x, kernels=kernels)
    rate = 1 / (2 * jnp.linalg.norm(z.T @ (weights[:, None] * z), 2) + 0.6)  # one over the largest curvature
    loss = lambda a: jnp.sum(weights[:, None] * (y - z @ a) ** 2) + 0.3 * jnp.sum(a**2)
    np.testing.assert_allclose(ours, optimum(loss, jnp.zeros_like(ours), rate), atol=1e-4)
    sklearn = Ridge(0.3, fit_intercept=False).fit(z, y, sample_weight=weights).coef_.T
    np.testing.assert_allclose(ours, sklearn, rtol=1e-8, atol=1e-10)
    copies = np.repeat(np.arange(60), np.asarray(weights, int))
    np.testing.assert_allclose(fit_bundled(tower, x[copies], y[copies], 0.3, kernels=kernels).psi, ours, rtol=1e-8)


def test_the_logistic_fit_is_the_trained_optimum_and_that_of_scikit_learn(x64):
    z, y = digits_like()
    weights = jnp.arange(60) % 4 + 0.0
    ours = fit_logistic(z, y, 0.5, weights)

    def loss(a):
        odds = z @ a
        return jnp.sum(weights[:, None] * (jax.nn.softplus(odds) - y * odds)) + 0.25 * jnp.sum(a**2)

    np.testing.assert_allclose(jax.grad(loss)(ours), 0, atol=1e-10)
    np.testing.assert_allclose(ours, optimum(loss, jnp.zeros_like(ours), 0.01), atol=1e-4)
    for column in range(3):
        sklearn = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1000)
        sklearn.fit(z, y[:, column], sample_weight=weights)
        np.testing.assert_allclose(ours[:, column], sklearn.coef_[0], atol=1e-4)


def test_newton_steps_are_halved_where_a_whole_one_would_rise(x64):
    """A first step from far, separable features: the loss of plain Newton would diverge."""
    z = jnp.array([[1.0, 40.0], [1.0, -0.1], [1.0, -30.0]])
    y = jnp.array([[1.0], [0.0], [1.0]])
    a = fit_logistic(z, y, 1e-3, iterations=40)[:, 0]
    gradient = z.T @ (jax.nn.sigmoid(z @ a) - y[:, 0]) + 1e-3 * a
    np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_derivatives_of_the_logistic_fit_are_those_of_the_optimum(x64):
    z, y = digits_like()
    fit = lambda ridge: jnp.sum(fit_logistic(z, y, ridge) ** 2)
    difference = (fit(0.5 + 1e-5) - fit(0.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(fit)(0.5), difference, rtol=1e-6)


def test_the_margin_fit_is_the_best_of_its_ball(x64):
    z, y = digits_like()
    ours = fit_margin(z, y, 2.0)
    np.testing.assert_allclose(jnp.linalg.norm(ours), 2.0, rtol=1e-14)
    agreement = lambda a: jnp.sum(y * (z @ a))
    others = jax.random.normal(jax.random.key(0), (200, *ours.shape))
    others = 2 * others / jnp.linalg.norm(others.reshape(200, -1), axis=1)[:, None, None]
    assert jax.vmap(agreement)(others).max() < agreement(ours)
    slope = jax.grad(agreement)(ours)  # parallel to the optimum
    np.testing.assert_allclose(slope / jnp.linalg.norm(slope), ours / 2, rtol=1e-12)
    assert jnp.all(fit_margin(z, 0 * y, 2.0) == 0)


def split_layer(kernel, mesh, m=16):
    params, constants = layer(kernel, m)
    features = lambda a: jax.NamedSharding(
        mesh, jax.P(*("model" if n in (m, kernel.width(m)) else None for n in a.shape))
    )
    params, constants = jax.tree.map(lambda a: jax.device_put(a, features(a)), (params, constants))
    x = jax.device_put(inputs(), jax.NamedSharding(mesh, jax.P("data")))
    return params, constants, x


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_and_features_split_over_two_by_four_devices_with_gradients_and_no_gather(kernel, mesh2x4):
    loss = lambda p, c, x: jnp.sum(jnp.sin(apply(p, c, x, kernel=kernel)))
    forward = lambda p, c, x: apply(p, c, x, kernel=kernel)
    arguments = split_layer(kernel, mesh2x4)
    params, constants = layer(kernel)
    truth = forward(params, constants, inputs()), jax.grad(loss, (0, 2))(params, constants, inputs())
    for function, expected in zip((forward, jax.grad(loss, (0, 2))), truth, strict=True):
        compiled = jax.jit(function).lower(*arguments).compile()
        for ours, value in zip(jax.tree.leaves(compiled(*arguments)), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, value, rtol=2e-4, atol=2e-5)
        text = compiled.as_text()
        assert "all-reduce" in text
        assert "all-gather" not in text
        assert "all-to-all" not in text


@pytest.mark.parametrize("n", [64, 61])
def test_the_streamed_fit_on_eight_devices_is_that_of_one_and_gathers_nothing(n, mesh8, mesh2x4):
    kernels, x = (REAL_COS, RELU), inputs(n)
    y = jnp.sin(3 * x[:, :2])
    tower = tower_init(jax.random.key(0), 5, (10, 8), kernels=kernels)
    fit = lambda x, y, **options: fit_bundled(tower, x, y, 0.1, kernels=kernels, block=5, **options).psi
    sharded = jax.jit(lambda x, y: fit(x, y, mesh=mesh8))
    truth, tiled = jax.jit(lambda x, y: (fit(x, y), fit(x, y, mesh=mesh2x4, feature_axis="model")))(x, y)
    np.testing.assert_allclose(sharded(x, y), truth, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(tiled, truth, rtol=1e-3, atol=1e-4)
    if n == 64:
        x, y = jax.device_put((x, y), jax.NamedSharding(mesh8, jax.P("data")))
        text = sharded.lower(x, y).compile().as_text()
        assert "all-reduce" in text
        assert "all-gather" not in text


@pytest.mark.parametrize("fit", [fit_margin, fit_logistic])
def test_fits_of_split_rows_only_reduce(fit, mesh8):
    z, y = digits_like(64)
    split = jax.device_put((z, y), jax.NamedSharding(mesh8, jax.P("data")))
    compiled = jax.jit(lambda z, y: fit(z, y, 0.5)).lower(*split).compile()
    np.testing.assert_allclose(compiled(*split), fit(z, y, 0.5), rtol=1e-3, atol=1e-4)
    assert "all-gather" not in compiled.as_text()


KEY, Z, Y = jax.random.key(0), jnp.ones((6, 3)), jnp.ones((6, 2))
BAD = [
    (lambda: merge_linear(SnnkParams(jnp.ones((4, 3)), None), dense(0, 2, 2)), "dense must be an affine map of 3"),
    (lambda: tower_init(KEY, 3, (4,), kernels=(RELU, RELU)), "kernels must be one for each"),
    (lambda: tower_init(KEY, 3, (), kernels=()), "kernels must be one for each"),
    (lambda: tower_init(KEY, 3, (0,), kernels=(RELU,)), "num_features must be"),
    (
        lambda: bundle(tower_init(KEY, 3, (4,), kernels=(RELU,)), mlp_init(KEY, (3, 4, 4, 4)), kernels=(RELU,)),
        "layers must be 1 or 2",
    ),
    (lambda: snnk_apply(SnnkParams(jnp.ones((5, 3)), None), layer(RELU)[1], inputs(), kernel=RELU), "psi must be"),
    (lambda: snnk_apply(*layer(RELU), inputs(d=4), kernel=RELU), "x must be of the dimension 5"),
    (lambda: snnk_apply(*layer(COS), 100 * inputs(), kernel=COS), "x must be vectors of norm at most"),
    (lambda: adapter_init(KEY, 0, 4, kernel=RELU), "dim must be"),
    (lambda: adapter_init(KEY, 3, 4, kernel=RELU, bottleneck=0), "bottleneck must be"),
    (lambda: adapter_init(KEY, 3, 4, kernel=RELU, stddev=-1.0), "stddev must be nonnegative"),
    (lambda: fit_margin(Z, Y, 0.0), "radius must be positive"),
    (lambda: fit_margin(Z, Y[:4], 1.0), "y must be"),
    (lambda: fit_margin(Z, Y, 1.0, jnp.full(6, -1.0)), "weights must be nonnegative"),
    (lambda: fit_logistic(Z, Y, 0.0), "ridge must be positive"),
    (lambda: fit_logistic(Z, Y, 1.0, iterations=0), "iterations must be"),
    (lambda: fit_logistic(Z, Y, 1.0, jnp.ones(4)), "weights must be"),
    (
        lambda: fit_bundled(tower_init(KEY, 3, (4,), kernels=(RELU,)), Z, Y, -1.0, kernels=(RELU,)),
        "ridge must be nonnegative",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gaussian_spectrum_layers_learn_by_gradient_descent():
    """End to end: the parameters alone, trained, fit a function that frozen Psi does not."""
    kernel = FourierKernel(gaussian_spectrum())
    params, constants = layer(kernel, m=64, l=1)
    x = inputs(40)
    y = jnp.sin(4 * x[:, :1])
    loss = jax.jit(lambda p: jnp.mean((snnk_apply(p, constants, x, kernel=kernel) - y) ** 2))
    optimizer = optax.adam(0.02)

    def step(carry, _):
        p, state = carry
        updates, state = optimizer.update(jax.grad(loss)(p), state, p)
        return (optax.apply_updates(p, updates), state), None

    trained = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=300)[0][0])(params)
    assert loss(trained) < 0.05 * loss(params)
