"""Random networks whose coefficients are computed, not trained: the ridgelet transform at random hidden units.

    g_n(x) = (1/n) sum_j R f(a_j, b_j) sigma(a_j.x - b_j) / (((sigma, rho)) p(a_j, b_j)),    (a_j, b_j) ~ p on V.

Unbiased for the truncated reconstruction g_V, and on a window T

    E |g_n - f|_T^2 = |g_V - f|_T^2 + C / n,    C = int_V |R f|^2 |sigma(a.- b)|_T^2 / (((sigma, rho))^2 p) - |g_V|_T^2,

least for the ridgelet density p ~ |R f| |sigma(a.- b)|_T. The window must be finite: on the whole line C is infinite.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_positive, require_size
from jaxlib_methods.numerics.projections import random_rows
from jaxlib_methods.random_features.bandlimited.hidden import Hidden, hidden_features, random_net_apply
from jaxlib_methods.random_features.bandlimited.pairs import RidgeletPair, admissibility
from jaxlib_methods.random_features.bandlimited.transform import band_quadrature

__all__ = ["MonteCarloError", "Window", "monte_carlo_error", "ridgelet_net"]

Transform = Callable[[Hidden], Array]


class Window(NamedTuple):
    """A bounded domain as nodes and weights of a quadrature, see `box_quadrature`."""

    x: Float[Array, "q m"]
    weights: Float[Array, " q"]


class MonteCarloError(NamedTuple):
    """E |g_n - f|_T^2 = floor + constant / n."""

    floor: Float[Array, ""]
    constant: Float[Array, ""]


def ridgelet_net(
    key: Key[Array, ""],
    transform: Transform,
    count: int,
    window: Window,
    pair: RidgeletPair,
    *,
    lam: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
    sampler: str = "uniform",
    cells: int = 64,
) -> tuple[Hidden, Float[Array, " n"]]:
    """Draws hidden units in the box |a_i| <= lam, |b| <= beta, with coefficients from the ridgelet transform.

    Args:
      key: typed PRNG key.
      transform: R f at hidden units.
      count: number of units n.
      window: domain T of the ridgelet density, and of the dimension m.
      pair: sigma and rho.
      lam: range of the weights.
      beta: range of the biases.
      sampler: "uniform"; or "density", the ridgelet density, constant on cells^(m + 1) cells and exactly accounted for,
        so for one or two dimensions; or "pool", for any dimension: units resampled from `cells^2` uniform ones in
        proportion to the ridgelet density, unbiased only as the pool grows.
      cells: as above.

    Returns:
      The units and coefficients, for `random_net_apply`.

    Raises:
      ValueError: if a size is below 1, a range not positive, the sampler unknown, or the pair not admissible.

    >>> from jaxlib_methods.random_features import box_quadrature, bumps_ridgelet, gaussian_pair, modulated_gaussian
    >>> transform = lambda hidden: bumps_ridgelet(modulated_gaussian(1), hidden, 1)
    >>> window = Window(*box_quadrature(1, 6.0, 64))
    >>> net = ridgelet_net(jax.random.key(0), transform, 8, window, gaussian_pair(1), lam=2.0, beta=9.0)
    >>> net[0].a.shape, net[1].shape
    ((8, 1), (8,))
    """
    require_choice("sampler", sampler, ("uniform", "density", "pool"))
    require_size("count", count)
    require_size("cells", cells)
    dim, dtype = _dim(window), window.x.dtype
    constant = admissibility(pair, dim=dim).astype(dtype)
    volume = _volume(dim, lam, beta)
    scale = jnp.asarray([lam] * dim + [beta], dtype)
    unit = lambda rows: Hidden(rows[:, :dim] * scale[None, :dim], rows[:, dim] * scale[dim])
    values = lambda hidden: transform(hidden).astype(dtype)
    weigh = lambda hidden: jnp.abs(values(hidden)) * _size(hidden, window, pair)
    if sampler == "uniform":
        hidden = unit(random_rows(key, count, dim + 1, law="box", dtype=dtype))
        return hidden, values(hidden) * (volume / (count * constant))
    choice_key, place_key = jax.random.split(key)
    if sampler == "pool":
        pool = random_rows(place_key, cells**2, dim + 1, law="box", dtype=dtype)
        weight = weigh(unit(pool))
        chosen = _draw(choice_key, weight, count)
        hidden = unit(pool[chosen])
        return hidden, values(hidden) * (volume * weight.mean() / (weight[chosen] * count * constant))
    centres = (jnp.arange(cells, dtype=dtype) + 0.5) * (2 / cells) - 1
    grid = jnp.stack(jnp.meshgrid(*[centres] * (dim + 1), indexing="ij"), -1).reshape(-1, dim + 1)
    weight = weigh(unit(grid))
    weight = weight + 1e-3 * weight.mean()  # no cell where R f vanishes at the centre alone is left out
    chosen = _draw(choice_key, weight, count)
    hidden = unit(grid[chosen] + random_rows(place_key, count, dim + 1, law="box", dtype=dtype) / cells)
    return hidden, values(hidden) * (volume * weight.mean() / (weight[chosen] * count * constant))


def monte_carlo_error(
    transform: Transform,
    target: Float[Array, " q"],
    window: Window,
    pair: RidgeletPair,
    *,
    lam: float,
    beta: float,
    sampler: str = "uniform",
    nodes: int = 200,
) -> MonteCarloError:
    """Predicts the mean square error on the window of `ridgelet_net`, by quadrature over the band.

    Args:
      transform: R f at hidden units.
      target: f at the nodes of the window.
      window: domain T.
      pair: sigma and rho.
      lam: range of the weights.
      beta: range of the biases.
      sampler: "uniform", or "density" for the exact ridgelet density, which is the best.
      nodes: an axis of the band.

    Raises:
      ValueError: if shapes do not match, a range is not positive, the sampler unknown, or the pair not admissible.

    Cost: nodes^(m + 1) q.

    >>> from jaxlib_methods.random_features import box_quadrature, bumps_apply, bumps_ridgelet
    >>> from jaxlib_methods.random_features import gaussian_pair, modulated_gaussian
    >>> bump, window = modulated_gaussian(1), Window(*box_quadrature(1, 6.0, 64))
    >>> transform = lambda hidden: bumps_ridgelet(bump, hidden, 1)
    >>> error = monte_carlo_error(transform, bumps_apply(bump, window.x), window, gaussian_pair(1), lam=2.0, beta=10.0)
    >>> round(float(error.floor), 4), round(float(error.constant), 1)
    (0.049, 31.1)
    """
    require_choice("sampler", sampler, ("uniform", "density"))
    dim = _dim(window)
    require_array("target", target, window.weights.shape)
    constant = admissibility(pair, dim=dim).astype(window.x.dtype)
    hidden, weights = band_quadrature(dim, lam, beta, nodes, dtype=window.x.dtype)
    values = transform(hidden).astype(window.x.dtype) / constant
    reached = random_net_apply(hidden, weights * values, window.x, pair.activation)
    norm = lambda f: jnp.sum(window.weights * f**2)
    size = _size(hidden, window, pair)
    if sampler == "uniform":
        second = _volume(dim, lam, beta) * jnp.sum(weights * values**2 * size**2)
    else:
        second = jnp.sum(weights * jnp.abs(values) * size) ** 2
    return MonteCarloError(norm(reached - target), second - norm(reached))


def _size(hidden, window, pair, block=4096):
    """|sigma(a.- b)|_T of every unit."""

    def part(rows):
        x, weights = rows
        return jnp.einsum("q,qn->n", weights, hidden_features(hidden, x, pair.activation) ** 2, precision="highest")

    return jnp.sqrt(reduce_rows(part, jnp.add, tuple(window), block=max(1, block * 64 // len(hidden.b))))


def _draw(key, weight, count):
    """Indices with probabilities in proportion to `weight`, by inversion of the cumulative sum."""
    total = jnp.cumsum(weight)
    return jnp.searchsorted(total, total[-1] * jax.random.uniform(key, (count,), weight.dtype)).clip(0, len(weight) - 1)


def _volume(dim, lam, beta):
    require_positive("lam", lam)
    require_positive("beta", beta)
    return (2 * lam) ** dim * 2 * beta


def _dim(window):
    require(window.x.ndim == 2, "window.x", f"shape {window.x.shape}", "a matrix of nodes")
    require_array("window.weights", window.weights, window.x.shape[:1])
    return window.x.shape[1]
