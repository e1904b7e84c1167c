"""A vision transformer whose feed-forward blocks are replaced and bundled."""

import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.harness import Claim, Context, new_figure
from experiments.models.vit import VisionTransformer
from experiments.scalable_neural_network_kernels.config import Config, Transformer
from jaxlib_methods.nn import nnx_functional
from jaxlib_methods.random_features import (
    ReluKernel,
)

if TYPE_CHECKING:
    from experiments.scalable_neural_network_kernels import Result


class Trained(NamedTuple):
    """One trained transformer."""

    kind: str
    replaced: int
    parameters: int
    replaced_parameters: int
    accuracy: float
    milliseconds: float


def train_transformers(config: Transformer, context: Context) -> list[Trained]:
    """The dense network; bundled and narrow ones for every k; and all blocks replaced without bundling."""
    images = context.data(config.dataset)
    hidden, d, m = 4 * config.width, config.width, config.features
    narrow = max(1, round(m * d / (2 * d + 1)))  # 2 d h + h + d parameters against m d + d
    whole: Any = ("dense", hidden)
    plans: list[tuple[str, int, Any]] = [("dense", 0, whole)]
    plans += [("bundled", k, ("bundled", m)) for k in config.replaced]
    plans += [("narrow", k, ("dense", narrow)) for k in config.replaced]
    plans += [("snnk", config.depth, ("snnk", m))]
    models = {}
    for kind, k, last in plans:
        model = VisionTransformer(
            size=images.train_x.shape[1],
            channels=images.train_x.shape[3],
            patch=config.patch,
            width=d,
            heads=config.heads,
            hidden=hidden,
            blocks=(whole,) * (config.depth - k) + (last,) * k,
            classes=int(images.train_y.max()) + 1,
            kernel=ReluKernel(config.threshold),
            rngs=nnx.Rngs(context.seed),
        )
        models[kind, k] = nnx_functional(model)
    milliseconds = step_times(config, context, models, images)
    trained = []
    for (kind, k), (apply, params, rest) in models.items():
        accuracy = train_transformer(config, context, f"{kind}-{k}", apply, params, rest, images)
        replaced = sum(count(params["blocks"][i]["feed_forward"]) for i in range(config.depth - k, config.depth))
        trained.append(Trained(kind, k, count(params), replaced, accuracy, milliseconds[kind, k]))
        context.log(0, **{f"accuracy_{kind}_{k}": accuracy})
    return trained


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def transformer_loss(apply, rest):
    def loss(params, batch, key):
        x, y = batch
        flipped = jnp.where(jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1)), x[:, :, ::-1], x)
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, rest, flipped)[0], y).mean()

    return loss


def step_times(config: Transformer, context: Context, models, images) -> dict:
    """Median milliseconds of a gradient; the networks take turns, so that a busy machine slows all of them alike."""
    batch = images.train_x[: config.batch_size], images.train_y[: config.batch_size]
    gradients = {name: jax.jit(jax.grad(transformer_loss(apply, rest))) for name, (apply, _, rest) in models.items()}
    seconds = {name: [] for name in models}
    for turn in context.progress(range(12), "step times"):
        for name, (_, params, _) in models.items():
            started = time.perf_counter()
            jax.block_until_ready(gradients[name](params, batch, context.key))
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def train_transformer(config: Transformer, context: Context, name: str, apply, params, rest, images) -> float:
    """Trains on nine tenths of the training part; the test accuracy."""
    x, y = (a[: len(a) - len(a) // 10] for a in images[:2])

    def batch(step: int):
        rows = np.random.default_rng([context.seed, step]).integers(0, len(x), config.batch_size)
        return x[rows], y[rows]

    peak, steps = config.learning_rate, config.steps
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, int(config.warm_up * steps), steps)
    decays = jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    state = context.train(
        name,
        transformer_loss(apply, rest),
        params,
        batch,
        optax.adamw(schedule, weight_decay=config.weight_decay, mask=decays),
        steps=steps,
        checkpoint_every=max(1, steps // 2),
    )
    correct = jax.jit(lambda p, x, y: jnp.sum(jnp.argmax(apply(p, rest, x)[0], 1) == y))
    test_x, test_y = images.test_x, images.test_y
    blocks = [slice(i, i + 500) for i in range(0, len(test_x), 500)]
    return sum(int(correct(state.params, test_x[rows], test_y[rows])) for rows in blocks) / len(test_x)


def transformer_claims(config: Config, result: "Result") -> list[Claim]:
    statements = {
        "vit-parameters": (
            "Replaced and bundled, feed-forward parts have at least 5 times fewer trainable parameters.",
            "abstract",
            "paper",
        ),
        "vit-accuracy": (
            "With all feed-forward parts bundled the accuracy stays competitive: at most two points below dense ones.",
            "abstract",
            "paper",
        ),
        "vit-step-time": (
            "A training step is faster with all feed-forward parts bundled than with dense ones.",
            "sheet, definition 9: m < l d / (l + d)",
            "derived",
        ),
    }
    about = lambda id: dict(zip(("source", "origin"), statements[id][1:], strict=True))
    if result.transformers is None or config.transformer is None:
        return [Claim.not_run(id, row[0], result.reason, **about(id)) for id, row in statements.items()]
    by_name = {(t.kind, t.replaced): t for t in result.transformers}
    dense = by_name["dense", 0]
    bundled = by_name["bundled", max(config.transformer.replaced)]
    full = 2 * 4 * config.transformer.width**2 + 5 * config.transformer.width
    measured = {
        "vit-parameters": (Claim.at_least, 5.0, full * bundled.replaced / bundled.replaced_parameters),
        "vit-accuracy": (Claim.at_most, 0.02, dense.accuracy - bundled.accuracy),
        "vit-step-time": (Claim.at_least, 1.0, dense.milliseconds / bundled.milliseconds),
    }
    return [
        make(id, statements[id][0], expected=expected, measured=value, **about(id))
        for id, (make, expected, value) in measured.items()
    ]


def transformer_figure(transformers: list[Trained]):
    figure, (left, middle, right) = new_figure("", "test accuracy", panels=3)
    names = {"bundled": "bundled", "narrow": "dense, as many parameters"}
    dense = next(t for t in transformers if t.kind == "dense")
    for color, (kind, name) in enumerate(names.items()):
        chosen = [dense, *(t for t in transformers if t.kind == kind)]
        column = lambda field, chosen=chosen: [getattr(t, field) for t in chosen]
        style = {"color": f"C{color}", "label": name}
        left.plot(column("parameters"), column("accuracy"), "o-", **style)
        middle.plot(column("replaced"), column("accuracy"), "o-", **style)
        right.plot(column("replaced"), column("milliseconds"), "o-", **style)
    whole = next(t for t in transformers if t.kind == "snnk")
    for axes, x, y in (
        (left, whole.parameters, whole.accuracy),
        (middle, whole.replaced, whole.accuracy),
        (right, whole.replaced, whole.milliseconds),
    ):
        axes.plot([x], [y], "s", color="C2", label="all replaced, not bundled")
    left.locator_params(axis="x", nbins=4)
    left.set_xlabel("parameters of the network")
    middle.set_xlabel("feed-forward parts replaced, k")
    right.set_xlabel("feed-forward parts replaced, k")
    right.set_ylabel("gradient step (ms)")
    right.set_ylim(bottom=0)
    for axes in (middle, right):
        axes.set_xticks(sorted({t.replaced for t in transformers}))
    left.legend()
    return figure
