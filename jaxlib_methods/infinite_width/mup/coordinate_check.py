"""The coordinate check: activations and their changes in training keep their size as the width grows.

For an activation x of a model of width n, the mean of |x_t| and of |x_t - x_0| over entries and seeds after t steps on
one batch is fitted by n^slope. Under a right muP all slopes after the first step are 0 up to effects of finite width;
before it, outputs and attention logits may have slope -1/2. A wrong exponent of an initial value, a multiplier or a
rate shows as a slope of 1/2 or more in size.
Yang et al., "Tensor Programs V", 2022, appendix D.1.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxlib_methods.numerics.checks import require, require_positive, require_size

__all__ = ["CoordinateReport", "Coordinates", "coordinate_check"]

Init = Callable[[Key[Array, ""]], PyTree]
Loss = Callable[[PyTree], tuple[Array, dict[str, Array]]]


class Coordinates(NamedTuple):
    """Of one activation: its size, and the size of its change since the first step."""

    size: np.ndarray
    change: np.ndarray


class CoordinateReport(NamedTuple):
    """What the check found.

    Attributes:
      passed: whether there is no failure.
      failures: which statistic fails, and why, in words.
      widths: the widths.
      slopes: by activation, slopes at each step (steps + 1,); NaN where a statistic is 0 or not finite.
      table: by activation, statistics (widths, steps + 1), averaged over seeds.
    """

    passed: bool
    failures: tuple[str, ...]
    widths: tuple[int, ...]
    slopes: dict[str, Coordinates]
    table: dict[str, Coordinates]


def coordinate_check(
    key: Key[Array, ""],
    model: Callable[[int], tuple[Init, Loss, optax.GradientTransformation]],
    *,
    widths: Sequence[int],
    steps: int = 3,
    seeds: int = 4,
    outputs: Sequence[str] = ("output",),
    tolerance: float = 0.1,
) -> CoordinateReport:
    """Trains a model for a few steps at several widths and judges how its activations scale.

    Every slope must be within the tolerance of 0, but those of `outputs` before the first step, which may go down to
    -1/2. Statistics that are 0 at every width have no slope; at the last step every change must differ from 0.

    Args:
      key: typed PRNG key.
      model: of a width, gives `init(key) -> params`, `loss(params) -> (value, activations by name)` on one fixed batch,
        and an optax optimizer, whose rate should be large.
      widths: at least two, ascending.
      steps: training steps.
      seeds: initial values at each width, trained together under `vmap`.
      outputs: names of the activations that may shrink before the first step: outputs and attention logits.
      tolerance: of slopes.

    Raises:
      ValueError: if widths are not two or more, positive and ascending, a number is not positive, or `outputs` names no
        activation.

    Cost: a compilation, and seeds (steps + 1) gradients, a width.

    >>> def model(n):
    ...     init = lambda key: jax.random.normal(key, (n,))
    ...     loss = lambda w: (jnp.sum(w), {"w": w})
    ...     return init, loss, optax.sgd(0.1)
    >>> coordinate_check(jax.random.key(0), model, widths=(64, 256), outputs=()).passed
    True
    """
    for name, number in (("steps", steps), ("seeds", seeds)):
        require_size(name, number)
    for n in widths:
        require_size("widths", n)
    ascending = len(widths) > 1 and all(a < b for a, b in itertools.pairwise(widths))
    require(ascending, "widths", tuple(widths), "two or more in ascending order")
    require_positive("tolerance", tolerance)
    init, loss, _ = model(widths[0])
    names = list(jax.eval_shape(lambda key: loss(init(key))[1], key))
    for name in outputs:
        require(name in names, "outputs", repr(name), f"some of the activations {', '.join(names)}")
    measured = [_measure(jax.random.fold_in(key, n), *model(n), steps, seeds) for n in widths]
    stack = lambda name, i: np.stack([found[name][i] for found in measured])
    table = {name: Coordinates(stack(name, 0), stack(name, 1)) for name in names}
    slopes = {
        name: Coordinates(_slopes(widths, statistics.size), _slopes(widths, statistics.change))
        for name, statistics in table.items()
    }
    failures = []
    for name, kind, t in itertools.product(names, Coordinates._fields, range(steps + 1)):
        values, slope = getattr(table[name], kind)[:, t], getattr(slopes[name], kind)[t]
        may_vanish = kind == "size" or t < steps
        low = -0.5 if name in outputs and t == 0 else 0.0
        words = _failure(values, slope, may_vanish, low - tolerance, tolerance)
        if words is not None:
            failures.append(f"{'change of ' if kind == 'change' else ''}{name} at step {t}: {words}")
    return CoordinateReport(not failures, tuple(failures), tuple(widths), slopes, table)


def _measure(key, init: Init, loss: Loss, optimizer, steps: int, seeds: int) -> dict[str, Any]:
    mean = lambda x: jnp.mean(jnp.abs(x), dtype=jnp.promote_types(x.dtype, jnp.float32))

    def trajectory(key):
        params = init(key)
        shapes = jax.eval_shape(loss, params)[1]
        first = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def step(carry, t):
            params, state, first = carry
            (_, now), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            first = jax.tree.map(lambda start, x: jnp.where(t == 0, x, start), first, now)
            statistics = {name: (mean(x), mean(x - first[name])) for name, x in now.items()}
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state, first), statistics

        return jax.lax.scan(step, (params, optimizer.init(params), first), jnp.arange(steps + 1))[1]

    statistics = jax.jit(jax.vmap(trajectory))(jax.random.split(key, seeds))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).mean(0), statistics)


def _slopes(widths: Sequence[int], values: Float[np.ndarray, "w t"]) -> np.ndarray:
    x = np.log(widths) - np.mean(np.log(widths))
    usable = np.all((values > 0) & np.isfinite(values), axis=0)
    return np.where(usable, x @ np.log(np.where(usable, values, 1)) / (x @ x), np.nan)


def _failure(values: np.ndarray, slope: float, may_vanish: bool, low: float, high: float) -> str | None:
    """What is wrong with one statistic at one step."""
    if not np.isfinite(values).all():
        return "not finite"
    if not values.all():
        return None if may_vanish and not values.any() else "0 at some width"
    if slope > high:
        return f"grows as width^{slope:.2f}"
    return f"shrinks as width^{slope:.2f}" if slope < low else None
