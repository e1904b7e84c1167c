"""Two language models on as many tokens, one of them with attention of order 3 in every fourth layer."""

import lzma
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context, new_figure
from experiments.kronecker_attention.config import Config
from experiments.models.decoder import DecoderConfig, decoder_apply, decoder_init
from jaxlib_methods.runtime import DataError, data_path


class Language(NamedTuple):
    """Held-out loss in nats a byte (model, evaluation), all order 2 first; weights of each; why it did not run."""

    steps: np.ndarray
    losses: np.ndarray
    weights: tuple[int, ...]
    missing: str | None


def language_models(config: Config, context: Context, key) -> Language:
    """Byte-level decoders trained on the same batches; evaluated on the last twentieth of the text."""
    try:
        path = data_path("books", "books.txt.xz", context.data_directory)
    except DataError as error:
        return Language(np.zeros(0), np.zeros((2, 0)), (0, 0), str(error))
    with lzma.open(path) as file:
        text = np.frombuffer(file.read(config.megabytes * 10**6), np.uint8)
    cut = len(text) * 19 // 20
    marks = tuple(config.language_steps * i // 8 for i in range(1, 9))

    def rows(part, seed, count):
        starts = np.random.default_rng(seed).integers(0, len(part) - config.context - 1, count)
        return part[starts[:, None] + np.arange(config.context + 1)].astype(np.int32)

    held_out = jnp.asarray(rows(text[cut:], 10**9, 16 * config.language_batch))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.language_rate, max(1, config.language_steps // 20), config.language_steps
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.1))
    curves, weights = [], []
    for name, every in (("order 2", 0), ("order 3", config.every)):
        model = DecoderConfig(
            context=config.context,
            dim=config.dim,
            layers=config.layers,
            heads=config.heads,
            head_dim=config.head_dim,
            every=every,
            windows=config.language_windows,
            block_q=config.block_q,
        )

        def loss(params, batch, key=None, model=model):
            logits = decoder_apply(params, batch[:, :-1], model)
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:]).mean()

        measure = jax.jit(
            lambda params, loss=loss: jax.lax.map(
                lambda part: loss(params, part), held_out.reshape(16, -1, config.context + 1)
            ).mean()
        )
        params = decoder_init(key, model)
        weights.append(sum(leaf.size for leaf in jax.tree.leaves(params)))
        context.train(
            f"language {name}",
            loss,
            params,
            lambda step: rows(text[:cut], step, config.language_batch),
            optimizer,
            steps=config.language_steps,
            evaluate=lambda state, measure=measure: {"held_out": measure(state.params)},
            evaluate_at=marks,
        )
        curves.append([r["held_out"] for r in context.records(f"language {name}") if "held_out" in r])
    return Language(np.array(marks), np.array(curves), tuple(weights), None)


def language_claims(language: Language | None) -> list[Claim]:
    statement = "At as many tokens, order-3 attention in every fourth layer lowers the held-out loss (nats a byte)."
    source: Any = dict(source="Roy et al. 2025, Fast and Simplex, section 7", origin="paper")
    if language is None:
        return []
    if language.missing:
        return [
            Claim.not_run("language-loss", statement, expected="order 3 < order 2", reason=language.missing, **source)
        ]
    order_2, order_3 = (float(value) for value in language.losses[:, -1])
    measured = {"order 3": order_3, "order 2": order_2}
    return [Claim.ordering("language-loss", statement, expected=["order 3", "order 2"], measured=measured, **source)]


def language_figure(language: Language):
    figure, axes = new_figure("training step", "held-out loss, nats a byte")
    for label, curve, count in zip(
        ("all order 2", "every fourth order 3"), language.losses, language.weights, strict=True
    ):
        axes.plot(language.steps, curve, "o-", label=f"{label}, {count / 1e6:.2f} M weights")
    axes.set_title("Language models on as many tokens")
    axes.legend()
    return figure
