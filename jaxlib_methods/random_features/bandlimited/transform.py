"""Ridgelet transforms by quadrature, and the energy of a target inside any band of weights and biases.

R f(a, b) = int f(x) rho(a.x - b) dx,    E_in(V) = (1 / ((rho, rho))) int_V |R f|^2 da db,    E_in + E_out = |f|^2.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require_array, require_positive, require_size
from jaxlib_methods.random_features.bandlimited.hidden import Activation, Hidden

__all__ = ["band_quadrature", "box_quadrature", "gaussian_box_energy", "ridgelet_transform"]


def ridgelet_transform(
    values: Float[Array, " q"],
    x: Float[Array, "q m"],
    weights: Float[Array, " q"],
    hidden: Hidden,
    ridgelet: Activation,
    *,
    block: int = 4096,
) -> Float[Array, " n"]:
    """R f at the points (a, b) of `hidden`, from values of f at the nodes of a quadrature or at samples.

    Args:
      values: f at `x`.
      x: nodes; or samples of a density q.
      weights: of the quadrature; for N samples 1 / (N q(x)).
      hidden: the points (a, b).
      ridgelet: rho.
      block: nodes worked on at once. Memory: O(block n).

    Raises:
      ValueError: if shapes do not match or `block` is below 1.

    >>> x, weights = box_quadrature(1, 6.0, 64)
    >>> unit = Hidden(jnp.zeros((1, 1)), jnp.zeros(1))
    >>> bell = lambda z: jnp.exp(-(z**2) / 2)
    >>> round(float(ridgelet_transform(bell(x[:, 0]), x, weights, unit, lambda z: 0 * z + 1)[0]), 3)  # sqrt(2 pi)
    2.507
    """
    require_array("x", x, (None, hidden.a.shape[1]))
    require_array("values", values, x.shape[:1])
    require_array("weights", weights, x.shape[:1])

    def part(rows):
        x, weighted = rows
        angles = jnp.einsum("qm,nm->qn", x, hidden.a, precision="highest") - hidden.b[None]
        return jnp.einsum("q,qn->n", weighted, ridgelet(angles), precision="highest")

    return reduce_rows(part, jnp.add, (x, values * weights), block=block)


def box_quadrature(
    dim: int, half_width: float | tuple[float, ...], nodes: int, *, dtype: jax.typing.DTypeLike | None = None
) -> tuple[Float[Array, "q m"], Float[Array, " q"]]:
    """Nodes and weights of Gauss-Legendre quadrature over the box |x_i| <= half_width_i: nodes^dim of them.

    Args:
      dim: m.
      half_width: one for all axes, or one an axis; positive.
      nodes: an axis.
      dtype: of the result; that of Python floats if None.

    Raises:
      ValueError: if a size is below 1 or a half width not positive.

    >>> x, weights = box_quadrature(2, 1.0, 3)
    >>> x.shape, round(float(weights.sum()), 4)
    ((9, 2), 4.0)
    """
    require_size("dim", dim)
    require_size("nodes", nodes)
    require_positive("half_width", half_width)
    halves = np.broadcast_to(np.asarray(half_width, float), (dim,))
    points, weights = np.polynomial.legendre.leggauss(nodes)
    x = np.stack(np.meshgrid(*(half * points for half in halves), indexing="ij"), -1).reshape(-1, dim)
    measure = functools.reduce(np.multiply.outer, [half * weights for half in halves]).ravel()
    dtype = jnp.result_type(float) if dtype is None else dtype
    return jnp.asarray(x, dtype), jnp.asarray(measure, dtype)


def band_quadrature(
    dim: int, lam: float, beta: float, nodes: int, *, dtype: jax.typing.DTypeLike | None = None
) -> tuple[Hidden, Float[Array, " q"]]:
    """Nodes and weights over the band |a_i| <= lam, |b| <= beta: nodes^(dim + 1) of them, so for one or two dimensions.

    Args:
      dim: m.
      lam: range of the weights; positive.
      beta: range of the biases; positive.
      nodes: an axis.
      dtype: of the result; that of Python floats if None.

    Raises:
      ValueError: if a size is below 1 or a range not positive.

    >>> hidden, weights = band_quadrature(1, 2.0, 3.0, 4)
    >>> hidden.a.shape, round(float(weights.sum()), 4)
    ((16, 1), 24.0)
    """
    require_positive("lam", lam)
    require_positive("beta", beta)
    points, weights = box_quadrature(dim + 1, (lam,) * dim + (beta,), nodes, dtype=dtype)
    return Hidden(points[:, :dim], points[:, dim]), weights


def gaussian_box_energy(lam: Float[ArrayLike, ""], beta: Float[ArrayLike, ""], *, nodes: int = 256) -> Float[Array, ""]:
    """Share of the energy of exp(-x^2 / 2) in the band |a| <= lam, |b| <= beta, with sigma = rho = G' on the line.

        int_(-lam)^lam (1/2) (1 + a^2)^(-3/2) P(3/2, beta^2 / (1 + a^2)) da,    P = regularised lower incomplete gamma.

    A target of another scale s has the share of lam s and beta.

    Args:
      lam: range of the weights; positive.
      beta: range of the biases; positive.
      nodes: of the quadrature, in arctan a.

    Raises:
      ValueError: if a known range is not positive.

    >>> round(float(gaussian_box_energy(1.0, 1.0)), 5)
    0.25017
    """
    require_positive("lam", lam)
    require_positive("beta", beta)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    limit = jnp.arctan(jnp.asarray(lam))
    angle = limit * jnp.asarray((points + 1) / 2, limit.dtype)
    shares = gammainc(jnp.full_like(angle, 1.5), (beta * jnp.cos(angle)) ** 2)
    return limit * jnp.sum(jnp.asarray(weights / 2, limit.dtype) * jnp.cos(angle) * shares)
