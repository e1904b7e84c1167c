"""Oracles: the product of Jacobians, and the list of parameters that must have been found at a tap."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.infinite_width.ntk_structured import _plan
from jaxlib_methods.infinite_width.taps import Recorder
from jaxlib_methods.nn import nnx_functional

F64 = dict(param_dtype=jnp.float64)


def normal(i, *shape):
    return np.random.default_rng(i).normal(size=shape)


def moved(params):
    """Parameters none of which is zero."""
    leaves, structure = jax.tree.flatten(params)
    leaves = [leaf.astype(jnp.float64) + 0.3 * normal(i, *leaf.shape) for i, leaf in enumerate(leaves)]
    return structure.unflatten(leaves)


@jax.numpy_rank_promotion("allow")
def left_to_jacobians(apply, params, x1, x2=None):
    """Names of parameters that were not found; the kernels are compared first."""
    taps = iw.automatic_taps(apply)
    call = lambda params, x1, x2, method: iw.empirical_ntk(taps, params, x1, x2, method=method, outputs="full")
    both = jax.jit(lambda *arguments: [call(*arguments, method) for method in ("structured", "jacobian")])
    ours, truth = both(params, x1, x2)
    np.testing.assert_allclose(ours, truth, rtol=1e-10, atol=1e-10 * jnp.abs(truth).max())
    found = _plan(taps, params, x1).clean
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]
    return {name for i, name in enumerate(names) if i not in found}


class ConvolutionalNetwork(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(4, (3, 3), strides=(2, 2), padding="SAME", **F64)(x))
        x = x + linen.gelu(linen.Conv(4, (3, 2), padding="CIRCULAR", **F64)(x))
        x = linen.ConvTranspose(4, (2, 2), strides=(2, 2), **F64)(x)
        x = linen.LayerNorm(**F64)(linen.Conv(4, (2, 2), padding="VALID", name="valid", **F64)(x))
        x = linen.Conv(4, (2, 2), strides=(2, 2), feature_group_count=2, name="grouped", **F64)(linen.silu(x))
        x = linen.Conv(2, (2, 2), kernel_dilation=2, name="dilated", **F64)(x)
        x = linen.Dropout(0.5, deterministic=True)(linen.max_pool(x, (2, 2))).reshape(len(x), -1)
        x = jnp.tanh(linen.Dense(5, **F64)(x)) * self.param("factor", linen.initializers.ones, (1, 5), jnp.float64)
        return linen.Dense(2, **F64)(x)


def test_a_linen_network_of_convolutions_shows_all_but_scales_and_grouped_or_dilated_filters(x64):
    x = normal(0, 5, 8, 8, 2)
    network = ConvolutionalNetwork()
    params = moved(network.init(jax.random.key(1), x)["params"])
    apply = lambda params, x: network.apply({"params": params}, x)
    left = {"LayerNorm_0/scale", "grouped/kernel", "dilated/kernel", "factor"}
    assert left_to_jacobians(apply, params, x[:2], x[2:]) == left


class Transformer(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = x + self.param("places", linen.initializers.normal(1.0), (1, *x.shape[1:]), jnp.float64)
        x = x + linen.MultiHeadDotProductAttention(2, **F64)(x)
        x = x + linen.Dense(4, **F64)(linen.gelu(linen.Dense(3, **F64)(linen.RMSNorm(**F64)(x))))
        return linen.Dense(2, **F64)(x).mean(1)


def test_time_as_long_as_the_batch_is_no_batch(x64):
    """Four examples, four times, four channels."""
    x = normal(0, 4, 4, 4)
    network = Transformer()
    params = moved(network.init(jax.random.key(1), x)["params"])
    apply = lambda params, x: network.apply({"params": params}, x)
    assert left_to_jacobians(apply, params, x) == {"RMSNorm_0/scale"}


class Shared(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(2, 3, (2,), strides=2, padding="SAME", rngs=rngs, **F64)
        self.twice = nnx.Conv(3, 3, (3,), padding="CIRCULAR", rngs=rngs, **F64)
        self.last = nnx.Linear(9, 2, rngs=rngs, **F64)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.twice(nnx.relu(self.twice(self.first(x)))))
        return self.last(self.dropout(x).reshape(len(x), -1))


def test_an_nnx_network_shows_what_it_uses_once(x64):
    x = normal(0, 3, 6, 2)
    apply, params, rest = nnx_functional(Shared(nnx.Rngs(0)))
    assert left_to_jacobians(lambda p, x: apply(p, rest, x)[0], moved(params), x) == {"twice/bias", "twice/kernel"}


def test_an_equinox_network_of_single_examples_with_channels_in_front_shows_everything(x64):
    keys = jax.random.split(jax.random.key(0), 3)
    network = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(2, 3, 3, stride=2, padding=1, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.ConvTranspose2d(3, 2, 2, stride=2, key=keys[1]),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(32, 2, key=keys[2]),
        ]
    )
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    apply = lambda params, x: jax.vmap(eqx.combine(params, rest))(x)
    assert left_to_jacobians(apply, moved(params), normal(0, 3, 2, 4, 4)) == set()


@jax.custom_vjp
def straight_through(x):
    return jnp.sign(x)


straight_through.defvjp(lambda x: (jnp.sign(x), None), lambda _, signal: (signal,))


def odd_convolution(p, x):
    """Axes in unusual orders, dilated inputs, padding of negative size."""
    orders = ("HCWN", "OWIH", "WNHC")
    pads = ((1, 2), (-1, 3))
    y = jax.lax.conv_general_dilated(x.transpose(2, 1, 3, 0), p["w"], (2, 1), pads, (1, 2), dimension_numbers=orders)
    return y.transpose(1, 0, 2, 3)


def frames(p, x):
    """Frames of a film as examples of a convolution."""
    y = jax.lax.conv(x.reshape(-1, *x.shape[2:]), p["w"], (1, 1), "SAME")
    return y.reshape(*x.shape[:2], -1).sum(2)


def twice_in_calls(p, x):
    layer = jax.jit(lambda w, x: jnp.tanh(x @ w))
    return layer(p["w"], layer(p["w"], x)) + p["b"]


def bias_also_factor(p, x):
    return jax.jit(lambda b, y: (y + b) * b)(p["b"].reshape(1, -1), x @ p["w"])


SQUARE, BIAS, ROWS = normal(0, 4, 4), normal(1, 4), normal(2, 3, 4)
WEIGHTS = {"w": SQUARE, "b": BIAS}
KINK = WEIGHTS | {"b": np.zeros(4), "v": normal(3, 4, 2)}


@pytest.mark.parametrize(
    ("apply", "params", "x", "left"),
    [
        (lambda p, x: jnp.tanh(x @ p["w"].T) + p["b"], WEIGHTS, ROWS, set()),
        (lambda p, x: jax.vmap(lambda x: p["w"] @ x + p["b"])(x), WEIGHTS, ROWS, set()),
        (lambda p, x: jnp.tanh(x @ p["w"] + p["b"]), WEIGHTS | {"b": BIAS[0]}, ROWS, set()),
        (lambda p, x: jnp.einsum("nhpk,kho->npo", x, p["w"]), {"w": normal(0, 5, 2, 3)}, normal(4, 4, 2, 4, 5), set()),
        (jax.checkpoint(lambda p, x: jax.jit(jnp.tanh)(x @ p["w"] + p["b"])), WEIGHTS, ROWS, set()),
        (lambda p, x: jax.nn.relu(0 * x @ p["w"] + p["b"]) @ p["v"], KINK, ROWS, set()),
        (lambda p, x: straight_through(x @ p["w"] + p["b"]) @ p["v"], KINK, ROWS, set()),
        (odd_convolution, {"w": normal(0, 4, 2, 3, 2)}, normal(4, 2, 3, 6, 5), set()),
        (frames, {"w": normal(0, 2, 3, 2, 2)}, normal(4, 2, 2, 3, 4, 4), set()),
        (twice_in_calls, WEIGHTS, ROWS, {"w"}),
        (bias_also_factor, WEIGHTS, ROWS, {"b"}),
        (lambda p, x: x @ (p["w"] * jnp.tri(4)) + p["b"], WEIGHTS, ROWS, {"w"}),
        (lambda p, x: x @ p["w"].astype("float64") + p["b"], WEIGHTS | {"w": np.ones((4, 4), "f4")}, ROWS, {"w"}),
        (
            lambda p, x: jax.lax.scan(lambda h, w: (jnp.sin(h @ w), None), x, p["w"])[0],
            {"w": SQUARE[None]},
            ROWS,
            {"w"},
        ),
        (lambda p, x: jnp.einsum("npf,pfo->npo", x, p["w"]), {"w": normal(0, 5, 2, 3)}, normal(4, 3, 5, 2), {"w"}),
        (
            lambda p, x: jnp.asarray(p["w"])[x].mean(1) @ p["v"],
            KINK | {"b": 1},
            np.array([[0, 1, 3], [2, 2, 0]]),
            {"w", "b"},
        ),
        (lambda p, x: (x + p["b"]) @ p["w"], WEIGHTS | {"b": 3}, np.arange(12).reshape(3, 4), {"b"}),
        (lambda p, x: jax.lax.stop_gradient(x @ p["w"]) + p["b"], WEIGHTS, ROWS, set()),
        (lambda p, x: x @ jax.lax.stop_gradient(p["w"]) + p["b"], WEIGHTS, ROWS, {"w"}),
        (lambda p, x: jnp.broadcast_to(p["b"], x.shape), {"b": BIAS}, ROWS, {"b"}),
    ],
)
def test_what_programs_do_with_weights(x64, apply, params, x, left):
    assert left_to_jacobians(apply, params, x) == left


@jax.numpy_rank_promotion("allow")
def test_the_function_keeps_its_values_and_kernels_can_be_mapped_and_differentiated(x64):
    apply = iw.automatic_taps(lambda p, x: jnp.tanh(x @ p["w"] + p["b"]))
    params, x = jax.tree.map(jnp.asarray, (WEIGHTS, ROWS))
    y = jnp.tanh(x @ params["w"] + params["b"])
    np.testing.assert_allclose(apply(WEIGHTS, ROWS), y, rtol=1e-12)
    np.testing.assert_allclose(apply(params, x, taps=Recorder(jax.tree.leaves(params))), y, rtol=1e-12)
    scaled = lambda scale: jax.tree.map(lambda leaf: scale * leaf, params)
    kernel = lambda scale, method: iw.empirical_ntk(apply, scaled(scale), x, method=method)
    scales = jnp.array([0.5, 2.0])
    ours, truth = (
        jax.vmap(jax.jacobian(lambda scale, method=method: kernel(scale, method)))(scales)
        for method in ("structured", "jacobian")
    )
    np.testing.assert_allclose(ours, truth, rtol=1e-10, atol=1e-12)


def test_a_wide_network_is_taken_structured_by_itself():
    params = {"w": jnp.ones((256, 512)), "v": jnp.ones((512, 10))}
    apply = lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"]
    costs = iw.ntk_costs(iw.automatic_taps(apply), params, jax.ShapeDtypeStruct((64, 256), jnp.float32))
    assert min(costs, key=costs.get) == "structured"


@pytest.mark.parametrize("apply", [3, lambda w, x: (x @ w, x), lambda w, x: jnp.sum(x @ w)])
def test_bad_functions_are_named(apply):
    with pytest.raises(ValueError, match="apply must be a function"):
        iw.empirical_ntk(iw.automatic_taps(apply), jnp.ones((4, 2)), jnp.ones((3, 4)), method="structured")
