"""Fully bundled networks fitted to digits in closed form."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, new_figure, sheet
from experiments.scalable_neural_network_kernels.config import Config
from jaxlib_methods.numerics import normal_equations, normal_equations_solve
from jaxlib_methods.random_features import (
    ReluKernel,
    tower_apply,
    tower_init,
)

STATED_ACCURACY = {32: (0.839, 0.777), 128: (0.956, 0.946), 512: (0.982, 0.983), 1024: (0.984, 0.983)}


class Digits(NamedTuple):
    """Test accuracies (m, one and two layers, seed), and that of a linear classifier."""

    accuracy: np.ndarray
    linear: float


def digits_regression(config: Config, context: Context) -> Digits:
    """The sheet's protocol: pixels in [0, 1], its split, targets one-hot minus 0.1, ridge a hundredth of the mean."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, labels = load_digits(return_X_y=True)
    train, test = train_test_split(np.arange(len(x)), test_size=360, stratify=labels, random_state=0)
    x, y = jnp.asarray(x / 16, jnp.float32), jax.nn.one_hot(labels, 10) - 0.1

    def accuracy(features: Callable) -> Any:
        sums = normal_equations(features, x[train], y[train])
        ridge = 1e-2 * jnp.mean(jnp.diagonal(sums.gram))
        coefficients = normal_equations_solve(sums, ridge, solver="cholesky")
        return jnp.mean(jnp.argmax(features(x[test]) @ coefficients, 1) == labels[test])

    kernels = (ReluKernel(), ReluKernel(bias_input=0.5))

    def towers(key, m):
        tower = tower_init(key, x.shape[1], (m, m), kernels=kernels)
        heights = (slice(1), slice(2))
        return [accuracy(lambda rows, h=h: tower_apply(tower[h], rows, kernels=kernels[h])) for h in heights]

    run_seeds = jax.jit(lambda keys, m: jax.lax.map(lambda key: jnp.stack(towers(key, m)), keys), static_argnames="m")
    keys = jax.vmap(jax.random.key)(jnp.arange(config.digits_seeds))
    rows = [run_seeds(keys, m=m).T for m in context.progress(config.digits_features, "digits")]
    linear = accuracy(lambda rows: jnp.pad(rows, ((0, 0), (0, 1)), constant_values=1))
    return Digits(np.array(rows), float(linear))


def digits_claims(config: Config, digits: Digits) -> list[Claim]:
    claim = sheet("reproduction (a)3")
    names = ("one layer", "a tower of two")
    return [
        *[
            claim(
                Claim.close,
                f"digits-{depth + 1}-{m}",
                f"Fully bundled regression on digits with {m} features in {name} reaches {STATED_ACCURACY[m][depth]}.",
                expected=STATED_ACCURACY[m][depth],
                measured=digits.accuracy[i, depth].mean(),
                tolerance=0.04 if m < 128 else 0.012,
            )
            for i, m in enumerate(config.digits_features)
            if m in STATED_ACCURACY
            for depth, name in enumerate(names)
        ],
        claim(
            Claim.between,
            "digits-linear",
            "A linear classifier of the pixels reaches .933 to .936.",
            low=0.933,
            high=0.936,
            measured=digits.linear,
        ),
    ]


def digits_figure(config: Config, digits: Digits):
    figure, axes = new_figure("trained parameters", "test error", log=True)
    parameters = 10 * np.array(config.digits_features)
    for i, name in enumerate(("one layer", "tower of two")):
        error = 1 - digits.accuracy[:, i]
        axes.errorbar(parameters, error.mean(1), error.std(1), fmt="o-", label=f"fully bundled, {name}")
    axes.plot([650], [1 - digits.linear], "D", color="C6", label="linear in the pixels")
    axes.set_title("Digits, closed-form fit")
    axes.legend()
    return figure
