"""Deep ReLU networks on digits: of the variances of weights only the critical one trains at a large rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import LayerScales, ensemble_init
from jaxlib_methods.nn import mlp_apply

STORED = np.log([0.41, 0.04, 0.07])


def train_digits(config, context: Context, key) -> dict[str, np.ndarray]:
    """Losses of each step, (variance, seed, step) at the large rate, and (seed, step) at the small one."""
    digits, sizes = context.data("digits"), config.digits
    x, y = np.concatenate([digits.train_x, digits.test_x]), np.concatenate([digits.train_y, digits.test_y])
    x = x.reshape(len(x), -1)
    x = jnp.asarray((x - x.mean()) / x.std(), jnp.float32)
    y = jnp.asarray(y)

    def losses(key, variance, rate):
        start, order = jax.random.split(key)
        variances = jnp.full(sizes.depth, variance).at[0].set(1.0)  # the first layer's weights have variance 1 / 64
        params = ensemble_init(
            start,
            LayerScales(0.0, variances),
            inputs=x.shape[1],
            width=sizes.width,
            depth=sizes.depth,
            outputs=10,
            dtype="float32",
        )

        def step(params, key):
            rows = jax.random.choice(key, len(x), (sizes.batch,), replace=False)
            value, gradient = jax.value_and_grad(
                lambda p: optax.softmax_cross_entropy_with_integer_labels(
                    mlp_apply(p, x[rows], activation=jax.nn.relu), y[rows]
                ).mean()
            )(params)
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient), value

        return jax.lax.scan(step, params, jax.random.split(order, sizes.steps))[1]

    run = jax.jit(jax.vmap(losses, (0, None, None)))
    keys = jax.random.split(key, sizes.seeds)
    cells = [(v, sizes.rate) for v in sizes.variances] + [(sizes.variances[-1], sizes.slow_rate)]
    found = [np.asarray(run(keys, *map(jnp.float32, cell))) for cell in context.progress(cells, "deep networks")]
    return {"fast": np.stack(found[:-1]), "slow": found[-1]}


def digits_claims(config, result) -> list[Claim]:
    claim = sheet("reproduction quick (d)")
    final = lambda losses: losses[..., -20:].mean(-1)
    small, critical, large = final(result.digits["fast"])
    return [
        claim(
            Claim.close,
            "critical-trains",
            "At C_W = 2 twenty layers train: mean log loss over seeds, two standard errors from the stored.",
            expected=STORED.mean(),
            measured=np.log(critical).mean(),
            tolerance=2 * np.hypot(_standard_error(STORED), _standard_error(np.log(critical))),
        ),
        claim(
            Claim.close,
            "small-does-not",
            "At C_W = 1 the loss stays at that of guessing.",
            expected=2.29,
            measured=small,
            tolerance=0.02,
        ),
        claim(
            Claim.at_least,
            "large-diverges",
            "At C_W = 3 every seed diverges to NaN.",
            expected=config.digits.seeds,
            measured=int(np.isnan(large).sum()),
        ),
        claim(
            Claim.at_most,
            "slow-survives",
            "At a tenth of the rate C_W = 3 survives and learns: mean loss over seeds below that of guessing.",
            expected=float(np.log(10)),
            measured=float(final(result.digits["slow"]).mean()),
        ),
    ]


def _standard_error(values):
    return values.std(ddof=1) / len(values) ** 0.5


def digits_figure(config, result):
    figure, axes = new_figure("step", "cross-entropy, each seed", log="y")
    for i, variance in enumerate(config.digits.variances):
        for seed, losses in enumerate(result.digits["fast"][i]):
            end = "" if np.isfinite(losses).all() else ": diverges at once"
            label = f"$C_W$ = {variance:g}, rate {config.digits.rate:g}{end}" if seed == 0 else None
            shown = np.where(losses < 30, losses, np.nan)
            axes.plot(shown, color=f"C{i}", alpha=0.8, linewidth=1, label=label)
    for seed, losses in enumerate(result.digits["slow"]):
        label = f"$C_W$ = {config.digits.variances[-1]:g}, rate {config.digits.slow_rate:g}" if seed == 0 else None
        axes.plot(losses, color="C3", alpha=0.8, linewidth=1, label=label)
    axes.set_ylim(1e-2, 30)
    axes.legend(loc="lower left")
    return figure
