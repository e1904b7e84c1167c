"""Every sampler as one linear recurrence that is driven by the network.

A sampler of the probability flow keeps a few arrays (its slots): the point y at which the network comes next, and
whatever it remembers. One network evaluation changes all of them linearly,

    z' = A_e z + B_e D(y, t_e) + c_e,        z = (y, ...),   y = z_0 + n_e eps,

with coefficients that depend on the noise levels alone. A `SamplerPlan` holds those coefficients, one row per
evaluation; `sample` is a `lax.scan` over the rows with one network call in its body. Plans are made on the host in
float64 by running the textbook formulas on unit vectors (`units`) in place of arrays.

Everything is written for alpha = 1: with general (alpha, sigma), x / alpha is such a process at level sigma / alpha,
so `make_plan` only rescales the slot y.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.checks import require, require_finite, require_positive, require_size

__all__ = ["SamplerPlan", "sample"]

Levels = Float[ArrayLike, " levels"] | Sequence[float]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SamplerPlan:
    """Coefficients of a sampler, one row per network evaluation; a pytree, to be passed through `jit` as an argument.

    Attributes:
      times: (e,) what the denoiser receives as its second argument.
      noise: (e,) standard deviation of the fresh noise that is added to y before the evaluation.
      table: (e, n, n + 2, *event) or (e, n, n + 2). Row i of [A, B, c] gives the new slot i from the n slots, the
        denoised sample and 1.
      stochastic: whether any fresh noise is drawn (static).
      terms: for each slot the columns of its row that any evaluation uses (static); all if None.
    """

    times: np.ndarray | Array
    noise: np.ndarray | Array
    table: np.ndarray | Array
    stochastic: bool = field(default=False, metadata={"static": True})
    terms: tuple[tuple[int, ...], ...] | None = field(default=None, metadata={"static": True})

    @property
    def evaluations(self) -> int:
        """Number of network evaluations."""
        return self.times.shape[0]


def sample(
    denoise: Callable[[Array, Array], Array],
    x: Float[Array, "b *event"],
    plan: SamplerPlan,
    *,
    key: Key[Array, ""] | None = None,
    trajectory: bool = False,
) -> Float[Array, "b *event"] | tuple[Float[Array, "b *event"], Float[Array, "points b *event"]]:
    """Runs a sampler from its first noise level to its last.

    `jax.jit(sample, static_argnums=0)(denoise, x, plan)` compiles once for all grids of equal length.

    Args:
      denoise: E[x0 | y] as a function of y (b, *event) and a scalar time of x's dtype, an entry of `plan.times`.
      x: samples at the first noise level, x = alpha x0 + sigma eps; at least float32 if small noise levels matter.
      plan: made by `heun_plan`, `dpm_solver_plan`, `unipc_plan` or `dpm_solver_v3_plan`; cast to x's dtype.
      key: needed by stochastic plans only.
      trajectory: also return the points that were visited (static under `jit`).

    Returns:
      The samples at the last noise level. With `trajectory`, a pair of them and of an array whose entry e < E is the
      point of evaluation e, fresh noise included, and whose entry E is the result, E = `plan.evaluations`.

    Raises:
      TypeError: if x is not floating.
      ValueError: if x has no batch axis or does not fit per-pixel coefficients, the denoiser changes the shape, or a
        stochastic plan is given no key.

    Cost: `plan.evaluations` network calls, each with a few fused additions of arrays like x; memory for about 2n such
    arrays, n <= 5 slots.

    >>> plan = SamplerPlan(np.array([2.0]), np.zeros(1), np.array([[[0.5, 0.5, 0.0]]]))  # one Euler step, 2 -> 1
    >>> sample(lambda y, sigma: jnp.zeros_like(y), jnp.ones((1, 2)), plan).tolist()
    [[0.5, 0.5]]
    """
    event = plan.table.shape[3:]
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must have a floating dtype, got {x.dtype}")
    require(x.ndim >= 1, "x", f"shape {x.shape}", "an array with a batch axis")
    require(event in ((), x.shape[1:]), "x", f"events of shape {x.shape[1:]}", f"of shape {event}, as the plan")
    keys = None
    if plan.stochastic:
        if key is None:
            raise ValueError("key must be given, because the plan is stochastic")
        keys = jax.random.split(key, plan.evaluations)

    def evaluate(state: list[Array], row) -> tuple[list[Array], tuple[Array, ...]]:
        time, noise, table, key = row
        y = state[0] if key is None else state[0] + noise * jax.random.normal(key, x.shape, x.dtype)
        denoised = denoise(y, time)
        require(denoised.shape == y.shape, "denoise(y, t)", f"shape {denoised.shape}", f"of y's shape {y.shape}")
        inputs = [y, *state[1:], denoised.astype(x.dtype), jnp.ones((), x.dtype)]
        state = [sum((table[i, j] * inputs[j] for j in columns), jnp.zeros_like(x)) for i, columns in enumerate(terms)]
        return state, (y,) if trajectory else ()

    times, noise, table = (jnp.asarray(a, x.dtype) for a in (plan.times, plan.noise, plan.table))
    slots, columns = table.shape[1:3]
    table = table.reshape(*table.shape[:3], 1, *(event or (1,) * (x.ndim - 1)))
    terms = plan.terms or (tuple(range(columns)),) * slots
    start = [x] + [jnp.zeros_like(x)] * (slots - 1)
    state, visited = jax.lax.scan(evaluate, start, (times, noise, table, keys))
    return (state[0], jnp.concatenate([visited[0], state[0][None]])) if trajectory else state[0]


class Grid(NamedTuple):
    """Points that a sampler passes, n steps: VE noise levels sigma / alpha, signal scales, denoiser times."""

    sigmas: np.ndarray
    alphas: np.ndarray
    times: np.ndarray

    @property
    def steps(self) -> int:
        """Number of steps n."""
        return len(self.sigmas) - 1

    @property
    def lambdas(self) -> np.ndarray:
        """Half log-SNR, infinite at noise level 0."""
        with np.errstate(divide="ignore"):
            return -np.log(self.sigmas)


def make_grid(sigmas, alphas=None, times=None) -> Grid:
    """Checks the noise levels of a sampler and brings them to float64."""
    sigmas = np.asarray(sigmas, np.float64)
    require(sigmas.ndim == 1 and sigmas.size >= 2, "sigmas", f"shape {sigmas.shape}", "one axis with at least 2 levels")
    require_finite("sigmas", sigmas)
    alphas = _like("alphas", sigmas, np.ones_like(sigmas) if alphas is None else alphas)
    times = _like("times", sigmas, sigmas if times is None else times)
    require_positive("alphas", alphas)
    levels = sigmas / alphas
    falling = bool(np.all(np.diff(levels) < 0)) and levels[-1] >= 0
    needed = "strictly decreasing (relative to alphas), and positive except for a last zero"
    require(falling, "sigmas", np.array2string(sigmas, threshold=6), needed)
    return Grid(levels, alphas, times)


def step_orders(grid: Grid, order: int, lower_order_final: bool) -> list[int]:
    """Order of each step: rising from 1, at most the steps left if asked so, 1 on the jump to noise level 0."""
    require_size("order", order, 1, 3)
    left = lambda i: grid.steps - i if lower_order_final else order
    orders = [min(order, i + 1, left(i)) for i in range(grid.steps)]
    return [*orders[:-1], 1 if grid.sigmas[-1] == 0 else orders[-1]]


def units(slots: int, event: tuple[int, ...] = ()) -> np.ndarray:
    """Unit vectors for n slots, the denoised sample and the constant 1: (n + 2, n + 2, *event)."""
    eye = np.eye(slots + 2).reshape(slots + 2, slots + 2, *(1,) * len(event))
    return np.broadcast_to(eye, (slots + 2, slots + 2, *event))


def make_plan(grid: Grid, points: Sequence[int], rows: Sequence[Sequence[np.ndarray]]) -> SamplerPlan:
    """Collects the new slots of each evaluation, given as combinations of `units`; `points` are places in the grid."""
    table = np.array(rows)
    here, following = grid.alphas[[*points]], grid.alphas[[*points[1:], -1]]
    column = (-1,) + (1,) * (table.ndim - 2)
    table[:, :, 0] /= here.reshape(column)
    table[:, 0] *= following.reshape(column)
    used = np.any(table != 0, axis=(0, *range(3, table.ndim)))
    terms = tuple(tuple(np.flatnonzero(row).tolist()) for row in used)
    return SamplerPlan(grid.times[[*points]], np.zeros(len(points)), table, terms=terms)


def _like(name: str, sigmas: np.ndarray, values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    require(values.shape == sigmas.shape, name, f"shape {values.shape}", f"of the shape {sigmas.shape} of sigmas")
    return values
