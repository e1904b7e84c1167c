"""Whole sampling trajectories in closed form when the data are Gaussian.

The probability-flow equation dx/dsigma = (x - D)/sigma (and its variance-preserving form) is linear for a Gaussian law;
from noise level (alpha_T, sigma_T) to (alpha_t, sigma_t)

    x_t = alpha_t mu + f(Sigma) (x_T - alpha_T mu),
    f(lam) = sqrt((sigma_t^2 + lam alpha_t^2) / (sigma_T^2 + lam alpha_T^2)).

Variance exploding: alpha = 1. Off the principal directions of a low-rank law (lam = 0) the factor is sigma_t / sigma_T.
Wang and Vastola 2024, section 3 and appendix.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_positive
from jaxlib_methods.numerics.gaussian import Gaussian, per_row, spectral_map

__all__ = [
    "emergence_share",
    "emergence_sigma",
    "perturbation_response",
    "planar_share",
    "probability_flow",
    "probability_flow_denoised",
    "rotation_state",
]

Level = Float[ArrayLike, ""] | Float[ArrayLike, " b"]


def probability_flow(
    gaussian: Gaussian,
    x: Float[Array, "b d"],
    sigma_from: Level,
    sigma_to: Level,
    *,
    alpha_from: Level = 1.0,
    alpha_to: Level = 1.0,
) -> Float[Array, "b d"]:
    """Moves points along the probability flow of a Gaussian law, exactly and in one step.

    Args:
      gaussian: law of the clean data.
      x: points at noise level (alpha_from, sigma_from).
      sigma_from: noise standard deviation now; positive.
      sigma_to: noise standard deviation wanted, lower or higher; nonnegative, 0 gives clean samples.
      alpha_from: signal scale now; positive.
      alpha_to: signal scale wanted; positive.

    Raises:
      ValueError: if shapes do not match or a known level is out of range.

    Cost: two (b, d) x (d, r) products.

    >>> g = Gaussian(jnp.zeros(2), jnp.eye(2), jnp.array([16.0, 0.0]), jnp.zeros(()))
    >>> print(probability_flow(g, jnp.ones((1, 2)), 3.0, 0.0))  # sqrt(16 / 25), 0
    [[0.8 0. ]]
    """
    noise_from, noise_to, alpha_from, alpha_to = _levels(gaussian, x, sigma_from, sigma_to, alpha_from, alpha_to)
    factor = lambda lam: jnp.sqrt((noise_to + lam * alpha_to**2) / (noise_from + lam * alpha_from**2))
    moved = spectral_map(gaussian, x - alpha_from * gaussian.mean[None], factor)
    return alpha_to * gaussian.mean[None] + moved


def probability_flow_denoised(
    gaussian: Gaussian,
    x: Float[Array, "b d"],
    sigma_from: Level,
    sigma_to: Level,
    *,
    alpha_from: Level = 1.0,
    alpha_to: Level = 1.0,
) -> Float[Array, "b d"]:
    """The denoised image D(x_t) met along the trajectory that passes through `x`; args as `probability_flow`.

        D_t = mu + g(Sigma) (x_T - alpha_T mu),
        g(lam) = lam alpha_t / sqrt((sigma_t^2 + lam alpha_t^2) (sigma_T^2 + lam alpha_T^2)).

    >>> g = Gaussian(jnp.zeros(1), jnp.ones((1, 1)), jnp.array([3.0]), jnp.zeros(()))
    >>> float(probability_flow_denoised(g, jnp.ones((1, 1)), 1.0, 1.0)[0, 0])
    0.75
    """
    noise_from, noise_to, alpha_from, alpha_to = _levels(gaussian, x, sigma_from, sigma_to, alpha_from, alpha_to)

    def factor(lam):
        square = (noise_to + lam * alpha_to**2) * (noise_from + lam * alpha_from**2)
        return lam * alpha_to / jnp.sqrt(jnp.where(square > 0, square, 1))

    return gaussian.mean[None] + spectral_map(gaussian, x - alpha_from * gaussian.mean[None], factor)


def perturbation_response(
    gaussian: Gaussian, kick: Float[Array, "b d"], sigma_from: Level, sigma_to: Level = 0.0
) -> Float[Array, "b d"]:
    """What a kick to the state at sigma_from has become at sigma_to; args as `probability_flow`.

        sqrt((lam + sigma_to^2) / (lam + sigma_from^2)) along each direction:

    a kick off the data's principal directions vanishes with the noise.

    >>> g = Gaussian(jnp.zeros(2), jnp.eye(2), jnp.array([16.0, 0.0]), jnp.zeros(()))
    >>> print(perturbation_response(g, jnp.ones((1, 2)), 3.0))
    [[0.8 0. ]]
    """
    return probability_flow(gaussian._replace(mean=jnp.zeros_like(gaussian.mean)), kick, sigma_from, sigma_to)


def emergence_share(variances: Float[Array, " r"], sigma: Float[ArrayLike, "*s"]) -> Float[Array, "*s r"]:
    """Share of each principal direction that the denoised image already has: sqrt(lam / (lam + sigma^2)).

    1/sqrt(2) at sigma = sqrt(lam): directions of high variance appear first.

    Args:
      variances: lam, nonnegative.
      sigma: noise levels of any shape; positive.

    Raises:
      ValueError: if a known value is out of range.

    >>> emergence_share(jnp.array([3.0]), 3.0).tolist()  # 1/2 at sqrt(3 lam)
    [0.5]
    """
    require_array("variances", variances, (None,))
    require_nonnegative("variances", variances)
    require_positive("sigma", sigma)
    noise = jnp.asarray(sigma, variances.dtype)[..., None] ** 2
    lam = variances.reshape((1,) * (noise.ndim - 1) + (-1,))
    return jnp.sqrt(lam / (lam + noise))


def emergence_sigma(variances: Float[Array, " r"], share: float = 0.5) -> Float[Array, " r"]:
    """Noise level at which the denoised image has the given share of each direction: sqrt(lam (1/share^2 - 1)).

    Raises:
      ValueError: if the share is not in (0, 1) or a known variance is negative.

    >>> emergence_sigma(jnp.array([3.0])).tolist()
    [3.0]
    """
    require(0 < share < 1, "share", share, "between 0 and 1, both excluded")
    require_array("variances", variances, (None,))
    require_nonnegative("variances", variances)
    return jnp.sqrt(variances * (share**-2 - 1))


def rotation_state(denoised: Float[Array, "b d"], x_start: Float[Array, "b d"], alpha: Level) -> Float[Array, "b d"]:
    """The variance-preserving trajectory as a rotation from noise to image: alpha D_t + sqrt(1 - alpha^2) x_T.

    Approximates x_t where sigma_T^2 is far above the data's variance.

    Args:
      denoised: D_t along the trajectory.
      x_start: x_T, where the trajectory starts.
      alpha: signal scale at t, in [0, 1].

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match.

    >>> float(rotation_state(jnp.ones((1, 1)), jnp.zeros((1, 1)), 0.5)[0, 0])
    0.5
    """
    require_array("denoised", denoised, (None, None))
    require_array("x_start", x_start, denoised.shape)
    alpha = per_row("alpha", alpha, denoised)
    return alpha * denoised + jnp.sqrt(1 - alpha**2) * x_start


def planar_share(trajectory: Float[Array, "t d"]) -> Float[Array, ""]:
    """Share of one trajectory's variance over time that two principal directions hold; 1 for a planar arc.

    Raises:
      ValueError: if there are fewer than three states. A trajectory that does not move gives NaN.

    >>> float(planar_share(jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])).__round__(4))
    1.0
    """
    require_array("trajectory", trajectory, (None, None))
    require(trajectory.shape[0] > 2, "trajectory", f"{trajectory.shape[0]} states", "of at least three states")
    offset = trajectory - trajectory.mean(0)[None]
    square = jnp.linalg.svd(offset, compute_uv=False) ** 2
    return square[:2].sum() / square.sum()


def _levels(gaussian, x, sigma_from, sigma_to, alpha_from, alpha_to):
    require_array("x", x, (None, gaussian.mean.shape[0]))
    require_positive("sigma_from", sigma_from)
    require_nonnegative("sigma_to", sigma_to)
    require_positive("alpha_from", alpha_from)
    require_positive("alpha_to", alpha_to)
    names = ("sigma_from", "sigma_to", "alpha_from", "alpha_to")
    levels = [per_row(n, v, x) for n, v in zip(names, (sigma_from, sigma_to, alpha_from, alpha_to), strict=True)]
    return levels[0] ** 2, levels[1] ** 2, levels[2], levels[3]
