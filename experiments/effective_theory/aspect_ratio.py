"""Test loss over depth and width beside the best ratio of the theory, and a deep residual network with its weight."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import (
    LayerScales,
    activation_function,
    critical_point,
    ensemble_init,
    equivalent_layer_rates,
    layer_rate_tree,
    optimal_aspect_ratio,
    residual_weight_for_depth,
    scale_by_layer_rates,
)
from jaxlib_methods.runtime import DataError

OUTPUTS = 10
# test losses below which the deep residual networks have learned; guessing has log 10 = 2.303
LEARNED = {"mnist": 0.5, "cifar10": 2.0}


def ratio_sweep(sizes, name: str, context: Context, key) -> dict[str, np.ndarray] | str:
    """Test losses, (activation, loss, width, depth), and those of deep residual networks, (width,); or why none."""
    try:
        data = context.data(name)
    except DataError as error:
        return str(error)
    flat = lambda x: x[: sizes.images].reshape(min(len(x), sizes.images), -1)
    train_x, test_x = flat(data.train_x), flat(data.test_x)
    center = lambda x: (x - train_x.mean()) / train_x.std()
    labels = data.train_y[: sizes.images], data.test_y[: sizes.images]
    arrays = tuple(map(jnp.asarray, (center(train_x), labels[0], center(test_x), labels[1])))
    grid = list(itertools.product(sizes.activations, sizes.losses, sizes.widths, sizes.depths))
    losses = [
        train_network(sizes, arrays, jax.random.fold_in(key, i), *cell)
        for i, cell in enumerate(context.progress(grid, f"{name}, depths and widths"))
    ]
    shape = (len(sizes.activations), len(sizes.losses), len(sizes.widths), len(sizes.depths))
    deep = []
    for i, n in enumerate(context.progress(sizes.widths, f"{name}, residual networks")):
        skip = residual_weight_for_depth("relu", depth=sizes.residual_depth, width=n, outputs=OUTPUTS)
        cell = ("relu", "cross-entropy", n, sizes.residual_depth, skip)
        deep.append(train_network(sizes, arrays, jax.random.fold_in(key, len(grid) + i), *cell))
    return {"losses": np.array(losses).reshape(shape), "residual": np.array(deep)}


def train_network(sizes, arrays, key, activation, loss, width, depth, skip=0.0) -> float:
    """Test loss of a critical network after training with equivalent rates of its layers."""
    x, y, test_x, test_y = arrays
    sigma, point = activation_function(activation), critical_point(activation)
    scales = LayerScales(point.bias_variance, point.weight_variance * (1 - skip**2))
    variances = jnp.full(depth, scales.weight_variance).at[0].set(point.weight_variance)
    start, order = jax.random.split(key)
    params = ensemble_init(
        start,
        LayerScales(scales.bias_variance, variances),
        inputs=x.shape[1],
        width=width,
        depth=depth,
        outputs=OUTPUTS,
        dtype="float32",
    )
    kernel = jnp.float32(scales.bias_variance + point.weight_variance)
    if skip:
        rates = jax.tree.map(lambda p: 1 / (depth * (p.shape[0] if p.ndim == 2 else 1)), params)
    else:
        shares = equivalent_layer_rates(
            LayerScales(point.bias_variance, point.weight_variance), kernel, activation=sigma, depth=depth
        )
        rates = layer_rate_tree(params, shares)
    optimizer = optax.chain(scale_by_layer_rates(rates), optax.sgd(0.3))

    def apply(params, x):
        first, *hidden, last = params
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hidden)

        @jax.checkpoint
        def layer(z, p):
            return skip * z + sigma.function(z) @ p.weight + p.bias[None], None

        z = jax.lax.scan(layer, x @ first.weight + first.bias[None], stacked)[0]
        return sigma.function(z) @ last.weight + last.bias[None]

    def value(params, x, y):
        z = apply(params, x)
        if loss == "mse":
            return jnp.mean(jnp.sum((z - jax.nn.one_hot(y, OUTPUTS)) ** 2, 1)) / 2
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    def step(carry, key):
        params, state = carry
        rows = jax.random.choice(key, len(x), (sizes.batch,))
        updates, state = optimizer.update(jax.grad(value)(params, x[rows], y[rows]), state)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda params, keys: jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0])
    return float(jax.jit(value)(run(params, jax.random.split(order, sizes.steps)), test_x, test_y))


def ratio_claims(config, result) -> list[Claim]:
    claim, claims = sheet("reproduction full"), []
    for name, learned in LEARNED.items():
        found = result.ratios.get(name, "needs the preset full")
        told = isinstance(found, str)
        claims.append(
            claim(
                Claim.between,
                f"best-ratio-{name}",
                f"On {name} the depth of least test loss at each width is within a factor of four of the best ratio's "
                "(median).",
                low=0.25,
                high=4.0,
                measured=found if told else _median_gap(config.aspect_ratio, found["losses"]),
            )
        )
        claims.append(
            claim(
                Claim.at_most,
                f"deep-residual-{name}",
                f"Residual networks of {config.aspect_ratio.residual_depth} layers with the skip weight of the rule "
                f"train on {name}.",
                expected=learned,
                measured=found if told else found["residual"],
            )
        )
    return claims


def _median_gap(sizes, losses: np.ndarray) -> float | str:
    """Best depth found over best depth told, the median of those on the grid of depths."""
    gaps = []
    for a, name in enumerate(sizes.activations):
        told = optimal_aspect_ratio(critical_point(name).nu, OUTPUTS) * np.array(sizes.widths)
        for table in losses[a]:
            found = np.array(sizes.depths)[np.argmin(np.nan_to_num(table, nan=np.inf), 1)]
            inside = (told >= min(sizes.depths)) & (told <= max(sizes.depths))
            gaps.extend((found / told)[inside])
    return float(np.median(gaps)) if gaps else "the best depths lie outside the grid"


def ratio_figure(sizes, name: str, found: dict[str, np.ndarray]):
    figure, axes = new_figure(
        "depth over width r", f"test loss on {name}, {sizes.losses[0]}", log=True, panels=len(sizes.activations)
    )
    for ax, name, tables in zip(np.atleast_1d(axes), sizes.activations, found["losses"], strict=True):
        for width, losses in zip(sizes.widths, tables[0], strict=True):
            ax.plot(np.array(sizes.depths) / width, losses, "o-", label=f"n = {width}")
        best = optimal_aspect_ratio(critical_point(name).nu, OUTPUTS)
        ax.axvline(best, color="black", linestyle="--", label="r* of the theory")
        ax.set_title(name)
    np.atleast_1d(axes)[0].legend()
    return figure
