"""Learning rates over widths: under muP the best stays where it was tuned, under standard parametrization it moves."""

import lzma
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.feature_learning_infinite_width.networks import cross_entropy, network
from experiments.harness import Claim, Context, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.runtime import DataError, data_path

PARAMETRIZATIONS = {"mup": "muP", "standard": "standard"}
STORED = {"mup": (-6, -5, -5), "standard": (-6, -6, -7)}
LEVEL = 0.005
STORED_LOSSES = {"mup": (0.0244, 0.0195, 0.0173), "standard": (0.0244, 0.0017, 0.0001)}


class Transfers(NamedTuple):
    """Final losses (width, rate) by parametrization, of digits and of text; text is a reason where it was not run."""

    digits: dict[str, np.ndarray]
    text: dict[str, np.ndarray] | str


def transfer_losses(config, context: Context, key) -> Transfers:
    digits_key, text_key = jax.random.split(key)
    digits = digit_losses(config.transfer, context, digits_key)
    try:
        return Transfers(digits, text_losses(config.transfer, context, text_key))
    except DataError as error:
        return Transfers(digits, str(error))


def digit_losses(sizes, context: Context, key) -> dict[str, np.ndarray]:
    """Loss on digits, each pixel standardized, of a perceptron whose readout starts at 0."""
    data = context.data("digits")
    x = np.concatenate([data.train_x, data.test_x]).reshape(-1, 64)
    x = jnp.asarray((x - x.mean(0)) / np.maximum(x.std(0), 1e-6), jnp.float32)
    y = jnp.asarray(np.concatenate([data.train_y, data.test_y]))

    def batch(key):
        rows = jax.random.choice(key, len(x), (min(sizes.batch, len(x)),), replace=False)
        return x[rows], y[rows]

    return _sweep(sizes.widths, sizes.exponents, sizes.steps, "perceptron", {}, batch, sizes.seeds, context, key)


def text_losses(sizes, context: Context, key) -> dict[str, np.ndarray]:
    """Loss in nats a byte of a byte-level decoder."""
    with lzma.open(data_path("books", "books.txt.xz", context.data_directory)) as file:
        text = jnp.asarray(np.frombuffer(file.read(int(sizes.megabytes * 10**6)), np.uint8))

    def batch(key):
        starts = jax.random.randint(key, (sizes.text_batch,), 0, len(text) - sizes.context - 1)
        rows = text[starts[:, None] + jnp.arange(sizes.context + 1)[None]].astype(jnp.int32)
        return rows[:, :-1], rows[:, 1:]

    model = dict(vocabulary=256, context=sizes.context, layers=sizes.layers)
    grid = sizes.text_widths, sizes.text_exponents, sizes.text_steps
    return _sweep(*grid, "transformer", model, batch, 1, context, key)


def _sweep(widths, exponents, steps, kind, sizes, batch, seeds, context, key) -> dict[str, np.ndarray]:
    """Losses (width, rate) by parametrization: medians over initial values of means over the last tenth of the steps.

    At high rates losses jump now and then, and a single training tells little.
    """
    rates = 2.0 ** jnp.array(exponents, jnp.float32)
    starts = jax.random.split(key, seeds)
    batches = jax.jit(lambda keys: jax.lax.map(batch, keys))(jax.random.split(jax.random.fold_in(key, 1), steps))
    jobs = [(name, width) for name in PARAMETRIZATIONS for width in widths]
    losses: dict[str, list[np.ndarray]] = {name: [] for name in PARAMETRIZATIONS}
    for name, width in context.progress(jobs, f"rates of the {kind}"):
        if name == "standard" and width == widths[0]:  # the base model itself
            losses[name].append(losses["mup"][0])
            continue
        init, apply, optimizer = network(kind, width, widths[0] if name == "mup" else width, **sizes)
        loss = lambda params, x, y, apply=apply: cross_entropy(apply(params, x)[0], y)

        def train(start, rate, batches, init=init, loss=loss, optimizer=optimizer):
            params, transform = init(start), optimizer(rate)

            def step(carry, batch):
                params, state = carry
                value, gradient = jax.value_and_grad(loss)(params, *batch)
                updates, state = transform.update(gradient, state, params)
                return (optax.apply_updates(params, updates), state), value

            _, values = jax.lax.scan(step, (params, transform.init(params)), batches)
            return values[-max(1, steps // 10) :].mean()

        def sweep(start, batches, train=train):
            return jax.lax.map(lambda rate: train(start, rate, batches), rates)

        run = jax.jit(sweep)
        losses[name].append(np.median([run(start, batches) for start in starts], axis=0))
    return {name: np.stack(found) for name, found in losses.items()}


def best_exponents(exponents, losses: np.ndarray) -> list[int]:
    """Logarithm to base 2 of the best rate at each width."""
    return [exponents[i] for i in np.argmin(np.where(np.isfinite(losses), losses, np.inf), axis=1)]


def level_exponents(exponents, losses: np.ndarray) -> np.ndarray:
    """Logarithm to base 2 of the least rate that reaches the level at each width, between those tried."""
    found = []
    for curve in np.log(losses):
        reached = int(np.argmax(curve < np.log(LEVEL)))
        before, after = curve[reached - 1], curve[reached]
        share = (before - np.log(LEVEL)) / (before - after)
        inside = reached > 0 and curve[reached] < np.log(LEVEL)
        found.append(exponents[reached - 1] + share if inside else np.nan)
    return np.array(found)


def transfer_claims(config, result) -> list[Claim]:
    claim, sizes = sheet("reproduction quick (f)"), config.transfer
    digits, text = result.transfer
    at = sizes.exponents.index(-8) if -8 in sizes.exponents else 0
    claims = []
    for name, words in PARAMETRIZATIONS.items():
        best = best_exponents(sizes.exponents, digits[name])
        claims.append(
            claim(
                Claim.close,
                f"digits-best-{name}",
                f"Best rate on digits at widths 32, 128, 512 under {words} (logarithm to base 2), to one octave.",
                expected=STORED[name],
                measured=best,
                tolerance=1,
            )
        )
        claims.append(
            claim(
                Claim.within_factor,
                f"digits-loss-{name}",
                f"Loss on digits at rate 2^-8 and widths 32, 128, 512 under {words}.",
                expected=STORED_LOSSES[name],
                measured=digits[name][:, at],
                factor=2.0,
            )
        )
        shift = {"mup": 0.0, "standard": -1.5}[name]
        claims.append(
            claim(
                Claim.close,
                f"digits-shift-{name}",
                f"Octaves by which the rate of loss {LEVEL:g} moves at each fourfold width under {words}.",
                expected=shift,
                measured=np.diff(level_exponents(sizes.exponents, digits[name])),
                tolerance=0.5,
            )
        )
    spread = text if isinstance(text, str) else _moved(sizes.text_exponents, text["mup"])
    moved = text if isinstance(text, str) else _moved(sizes.text_exponents, text["standard"])
    full = sheet("reproduction full")
    claims.append(
        full(
            Claim.at_most,
            "text-best-mup",
            "Octaves between the best rates of the narrowest and widest decoder on text under muP.",
            expected=1,
            measured=spread,
        )
    )
    claims.append(
        full(
            Claim.at_least,
            "text-best-standard",
            "Octaves by which the best rate of the decoder falls under standard parametrization.",
            expected=1,
            measured=moved,
        )
    )
    return claims


def _moved(exponents, losses) -> int:
    best = best_exponents(exponents, losses)
    return best[0] - best[-1]


def transfer_figures(config, result):
    """Losses against rates, a line a width."""
    sizes = config.transfer
    parts = [("digits", result.transfer.digits, sizes.widths, sizes.exponents, "loss on digits")]
    if not isinstance(result.transfer.text, str):
        parts.append(
            ("text", result.transfer.text, sizes.text_widths, sizes.text_exponents, "last losses on text, nats a byte")
        )
    for part, losses, widths, exponents, label in parts:
        log = "y" if part == "digits" else False
        figure, panels = new_figure("learning rate, logarithm to base 2", label, panels=2, log=log)
        for axes, (name, words) in zip(panels, PARAMETRIZATIONS.items(), strict=True):
            for i, (width, curve) in enumerate(zip(widths, losses[name], strict=True)):
                axes.plot(exponents, curve, "o-", color=f"C{i}", label=f"width {width}")
                best = best_exponents(exponents, curve[None])[0]
                axes.plot(best, curve[exponents.index(best)], "*", color=f"C{i}", markersize=11)
            axes.set_title(words)
            axes.sharey(panels[0])
        panels[0].legend()
        yield f"transfer_{part}", figure
