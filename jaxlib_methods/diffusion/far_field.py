"""Expansions of the score at high noise: why a training set looks Gaussian from afar.

With u = x - mean, the Gaussian score is -(1/sigma^2) (I + Sigma / sigma^2)^-1 u; expanding the inverse gives its far
field, and dropping |y_i|^2 from the training set's softmax, then expanding the exponential, gives the same first order.
Wang and Vastola 2024, section 4 and appendix.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.diffusion.scores import Sigma, noise_variance
from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array, require_choice
from jaxlib_methods.numerics.gaussian import Gaussian, spectral_map
from jaxlib_methods.numerics.softmax import softmax_merge, softmax_part, softmax_result

__all__ = [
    "delta_cross_term_score",
    "delta_first_order_score",
    "gaussian_equivalent_score",
    "gaussian_far_field_score",
]


def gaussian_far_field_score(
    gaussian: Gaussian, x: Float[Array, "b d"], sigma: Sigma, *, order: str = "first"
) -> Float[Array, "b d"]:
    """Far field of the Gaussian score, -f(Sigma) u / sigma^2.

        first:        f(lam) = 1 - lam / sigma^2
        second:       f(lam) = 1 - lam / sigma^2 + lam^2 / sigma^4
        regularised:  f(lam) = 1 - lam / (sigma^2 + tr Sigma / 2)

    Args:
      gaussian: law of the clean data.
      x: noisy points.
      sigma: noise standard deviation, scalar or one a row; positive.
      order: which expansion.

    Raises:
      ValueError: if shapes do not match, sigma is not positive, or the order is unknown.

    >>> g = Gaussian(jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1), jnp.zeros(()))
    >>> float(gaussian_far_field_score(g, jnp.ones((1, 1)), 2.0)[0, 0])  # -(1 - 1/4) / 4; exact: -1/5
    -0.1875
    """
    require_choice("order", order, ("first", "second", "regularised"))
    dim, rank = gaussian.basis.shape
    noise = noise_variance(x, sigma, dim)
    shift = 0.5 * (gaussian.variances.sum() + (dim - rank) * gaussian.remainder) if order == "regularised" else 0
    bend = 1 if order == "second" else 0
    factor = lambda lam: (1 - lam / (noise + shift) + bend * (lam / noise) ** 2) / noise
    return -spectral_map(gaussian, x - gaussian.mean[None], factor)


def delta_cross_term_score(
    points: Float[Array, "n d"], x: Float[Array, "b d"], sigma: Sigma, *, block: int = 1024
) -> Float[Array, "b d"]:
    """Score of the training set without |y_i|^2 in the softmax: logits (y_i - mean).u / sigma^2.

    Args and errors as `delta_score` on one device. Memory: O(b (block + d)).

    >>> float(delta_cross_term_score(jnp.array([[-1.0], [1.0]]), jnp.zeros((1, 1)), 2.0)[0, 0])
    0.0
    """
    noise, mean, u = _centre(points, x, sigma)

    def summarise(rows):
        y = rows - mean[None]
        return softmax_part(jnp.einsum("bd,nd->bn", u / noise, y, precision="highest"), y)

    average = softmax_result(reduce_rows(summarise, softmax_merge, points, block=block))[0]
    return (average - u) / noise


def delta_first_order_score(
    points: Float[Array, "n d"], x: Float[Array, "b d"], sigma: Sigma, *, block: int = 1024
) -> Float[Array, "b d"]:
    """First order of the cross-term softmax, weights (1 + logit_i) / n: the Gaussian far field of first order.

    Args and errors as `delta_score` on one device. Memory: O(b (block + d)).

    >>> float(delta_first_order_score(jnp.array([[-1.0], [1.0]]), jnp.ones((1, 1)), 2.0)[0, 0])
    -0.1875
    """
    noise, mean, u = _centre(points, x, sigma)
    return (_weighted_sum(points, mean, u / noise, block) - u) / noise


def gaussian_equivalent_score(
    gaussian: Gaussian, points: Float[Array, "n d"], x: Float[Array, "b d"], sigma: Sigma, *, block: int = 1024
) -> Float[Array, "b d"]:
    """The Gaussian score written as a sum over the training set, weights (y_i - mean).(Sigma + sigma^2 I)^-1 u / n.

    Equal to `gaussian_score` where `gaussian` has the mean and the covariance (over n) of the points.
    Args and errors as `delta_score` on one device. Memory: O(b (block + d)).

    >>> g = Gaussian(jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1), jnp.zeros(()))
    >>> float(gaussian_equivalent_score(g, jnp.array([[-1.0], [1.0]]), jnp.ones((1, 1)), 2.0)[0, 0])
    -0.20000000298023224
    """
    noise, mean, u = _centre(points, x, sigma)
    solved = spectral_map(gaussian, u, lambda lam: 1 / (lam + noise))
    return (_weighted_sum(points, mean, solved, block) - u) / noise


def _weighted_sum(points: Array, mean: Array, direction: Array, block: int) -> Array:
    def summarise(rows):
        y = rows - mean[None]
        weights = jnp.einsum("bd,nd->bn", direction, y, precision="highest")
        return jnp.einsum("bn,nd->bd", weights, y, precision="highest")

    return reduce_rows(summarise, jnp.add, points, block=block) / points.shape[0]


def _centre(points: Array, x: Array, sigma: ArrayLike) -> tuple[Array, Array, Array]:
    require_array("points", points, (None, None))
    require(points.shape[0] > 0, "points", f"shape {points.shape}", "a matrix with at least one row")
    mean = points.mean(0)
    return noise_variance(x, sigma, points.shape[1]), mean, x - mean[None]
