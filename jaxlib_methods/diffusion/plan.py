"""Every sampler as one linear recurrence that is driven by the network.

After evaluation e of the network, at the point y_e, a sampler of the probability flow remembers one array, and goes on
to a point that is linear in all it knows,

    m_e = u_e y_e + v_e D(y_e, t_e),
    y_(e+1) = a_e y_e + b_e D(y_e, t_e) + c_e + w_e1 m_(e-1) + ... + w_ek m_(e-k)   (+ n_(e+1) eps),

with coefficients that depend on the noise levels alone. A `SamplerPlan` holds those coefficients, one row per
evaluation; `sample` is a `lax.scan` over the rows with one network call in its body. Plans are made on the host in
float64 by running the textbook formulas on unit vectors (`units`) in place of arrays.

The k + 1 newest memories lie in a ring, of which an evaluation overwrites the oldest and moves no other: that, and the
new point, is all that is written.

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
      table: (e, 2, 3 + k, *event) or (e, 2, 3 + k). The coefficients of y, D, 1 and the k memories, newest first: row
        0 gives the next point, row 1 what is remembered, in which no older memory enters.
      stochastic: whether any fresh noise is drawn (static).
      terms: for each of the two rows the columns that any evaluation uses (static); all if None.
    """

    times: np.ndarray | Array
    noise: np.ndarray | Array
    table: np.ndarray | Array
    stochastic: bool = field(default=False, metadata={"static": True})
    terms: tuple[tuple[int, ...], tuple[int, ...]] | None = field(default=None, metadata={"static": True})

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

    Cost: `plan.evaluations` network calls. Beside each, two fused loops read k + 4 arrays like x and write two, k <= 3;
    memory for k + 4 such arrays.

    >>> euler = np.array([[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])  # one step, from level 2 to level 1
    >>> plan = SamplerPlan(np.array([2.0]), np.zeros(1), euler)
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

    times, noise, table = (jnp.asarray(a, x.dtype) for a in (plan.times, plan.noise, plan.table))
    ages = np.arange(table.shape[2] - 2)
    terms = plan.terms or (range(table.shape[2]), range(3))
    table = table.reshape(*table.shape[:3], 1, *(event or (1,) * (x.ndim - 1)))
    coefficients = [{j: table[:, i, j] for j in used} for i, used in enumerate(terms)]
    places = (np.arange(plan.evaluations)[:, None] - ages[None]) % len(ages)

    def evaluate(state: tuple[Array, Array], row) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        (y, ring), (time, noise, (following, remembered), places, key) = state, row
        if key is not None:
            y = y + noise * jax.random.normal(key, x.shape, x.dtype)
        denoised = denoise(y, time)
        require(denoised.shape == y.shape, "denoise(y, t)", f"shape {denoised.shape}", f"of y's shape {y.shape}")
        known = [y, denoised.astype(x.dtype), jnp.ones((), x.dtype)]
        combine = lambda row: sum((a * known[j] for j, a in row.items()), jnp.zeros_like(x))
        if remembered:
            ring = jax.lax.dynamic_update_index_in_dim(ring, combine(remembered), places[0], 0)
        known += [jax.lax.dynamic_index_in_dim(ring, place, keepdims=False) for place in places[1:]]
        return (combine(following), ring), (y,) if trajectory else ()

    start = x, jnp.stack([jnp.zeros_like(x)] * len(ages))
    (end, _), visited = jax.lax.scan(evaluate, start, (times, noise, coefficients, places, keys))
    return (end, jnp.concatenate([visited[0], end[None]])) if trajectory else end


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


def units(memories: int, event: tuple[int, ...] = ()) -> np.ndarray:
    """Unit vectors for the point, the denoised sample, the constant 1 and k memories: (k + 3, k + 3, *event)."""
    size = 3 + memories
    return np.broadcast_to(np.eye(size).reshape(size, size, *(1,) * len(event)), (size, size, *event))


def make_plan(grid: Grid, points: Sequence[int], rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> SamplerPlan:
    """Collects each evaluation's next point and memory, combinations of `units`; `points` are places in the grid."""
    table = np.array(rows)
    here, following = grid.alphas[[*points]], grid.alphas[[*points[1:], -1]]
    column = (-1,) + (1,) * (table.ndim - 2)
    table[:, :, 0] /= here.reshape(column)
    table[:, 0] *= following.reshape(column)
    used = np.any(table != 0, axis=(0, *range(3, table.ndim)))
    next_terms, memory_terms = (tuple(np.flatnonzero(row).tolist()) for row in used)
    return SamplerPlan(grid.times[[*points]], np.zeros(len(points)), table, terms=(next_terms, memory_terms))


def _like(name: str, sigmas: np.ndarray, values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    require(values.shape == sigmas.shape, name, f"shape {values.shape}", f"of the shape {sigmas.shape} of sigmas")
    return values
