"""Analytical teleportation: the first steps of any sampler replaced by one closed-form move.

At high noise a network's score is the score of the Gaussian with the data's mean and covariance, whose probability
flow is known. Moving x_T along it to the k-th noise level costs no network evaluation; any sampler goes on from there.
Wang and Vastola 2024, section 6.
"""

import numpy as np
from jaxtyping import Array, Float

from jaxlib_methods.diffusion.trajectory import probability_flow
from jaxlib_methods.numerics.checks import require, require_size
from jaxlib_methods.numerics.gaussian import Gaussian

__all__ = ["teleport"]


def teleport(
    gaussian: Gaussian,
    x: Float[Array, "b *event"],
    sigmas: np.ndarray,
    skip: int,
    *,
    alphas: np.ndarray | None = None,
) -> tuple[Float[Array, "b *event"], np.ndarray]:
    """Skips the first `skip` steps of a noise grid: the moved points, and the grid that is left.

    `x, tail = teleport(gaussian, x, sigmas, k)` followed by `sample(denoise, x, heun_plan(tail))`, or with any other
    plan; Heun saves 2 k network evaluations, a multistep solver k. With k = 0 nothing changes, bit for bit.

    Args:
      gaussian: mean and covariance of the training data, in the scale of the samples (images in [-1, 1] need the
        statistics of images in [-1, 1]; a network trained with flips wants flip-symmetric statistics).
      x: points at the grid's first level; an event of any shape with d numbers in all.
      sigmas: decreasing noise grid on the host, a final zero included if the sampler wants one.
      skip: steps to skip, at least 0 and below the number of steps.
      alphas: signal scales of the grid, for a variance-preserving sampler; ones if None. The grid that is left is
        then `sigmas[skip:], alphas[skip:]`, and `sigmas[skip:]` is returned.

    Raises:
      ValueError: if `skip` is out of range or shapes do not match.

    >>> import jax.numpy as jnp
    >>> g = Gaussian(jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1), jnp.zeros(()))
    >>> x, tail = teleport(g, jnp.ones((1, 1)), np.array([2.0, 1.0, 0.5, 0.0]), 1)
    >>> print(x.round(4), tail)  # sqrt(2 / 5)
    [[0.6325]] [1.  0.5 0. ]
    """
    sigmas = np.asarray(sigmas)
    require(sigmas.ndim == 1 and sigmas.size > 1, "sigmas", f"shape {sigmas.shape}", "a grid of at least two levels")
    require_size("skip", skip, 0, sigmas.size - 2)
    alphas = np.ones_like(sigmas) if alphas is None else np.asarray(alphas)
    require(alphas.shape == sigmas.shape, "alphas", f"shape {alphas.shape}", f"of shape {sigmas.shape}")
    if skip == 0:
        return x, sigmas
    levels = dict(alpha_from=float(alphas[0]), alpha_to=float(alphas[skip]))
    flat = x.reshape(x.shape[0], -1)
    moved = probability_flow(gaussian, flat, float(sigmas[0]), float(sigmas[skip]), **levels)
    return moved.reshape(x.shape), sigmas[skip:]
