"""Bayesian inference with a network of finite width, to order 1 / width.

The last layer is Gaussian with a random metric G of mean K + G1 / n and covariance V / n. With m(G) the mean of the
Gaussian posterior and ell(G) its log evidence, both at fixed G, and derivatives at K,

    E[z_t | y] = m + (Dm.G1 + D^2 m : V / 2 + Dm V Dell) / n
    log p(y)   = ell + (Dell.G1 + (D^2 ell + Dell Dell) : V / 2) / n.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapter 6; the form here is derived.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require, require_array

__all__ = ["FiniteWidthPosterior", "finite_width_posterior"]


class FiniteWidthPosterior(NamedTuple):
    """Values at infinite width, and n times the next order.

    Attributes:
      mean: posterior mean at the test inputs.
      mean_correction: of the mean; divide by the width.
      log_evidence: log density of the targets.
      log_evidence_correction: divide by the width.
    """

    mean: Float[Array, "t o"]
    mean_correction: Float[Array, "t o"]
    log_evidence: Float[Array, ""]
    log_evidence_correction: Float[Array, ""]


def finite_width_posterior(
    kernel: Float[Array, "n n"],
    vertex: Float[Array, "n n n n"],
    kernel_shift: Float[Array, "n n"],
    y: Float[Array, "a o"],
) -> FiniteWidthPosterior:
    """Posterior mean and evidence of noiseless targets on the first inputs, to order 1 / width.

    Args:
      kernel: K at the last layer, from `multi_input_recursion`; training inputs first.
      vertex: V there.
      kernel_shift: G1 there.
      y: targets at the first a inputs.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or there are more targets than inputs.

    Cost: second derivatives of a solve, n^4 (n + t o). Wants float64, as the correction has conditions squared.

    >>> one = jnp.ones((1, 1))
    >>> jax.jit(finite_width_posterior)(one, one[None, None], 0 * one, 2 * one).log_evidence_correction.item()
    -0.625
    """
    n, train = len(kernel), len(y)
    require_array("kernel", kernel, (n, n))
    require_array("vertex", vertex, (n,) * 4)
    require_array("kernel_shift", kernel_shift, (n, n))
    require_array("y", y, (None, None))
    require(train <= n, "y", f"{train} targets for {n} inputs", "no more than the inputs")

    def both(metric):
        metric = (metric + metric.T) / 2
        factor = jnp.linalg.cholesky(metric[:train, :train])
        white = jax.scipy.linalg.solve_triangular(factor, jnp.concatenate([y, metric[:train, train:]], 1), lower=True)
        ours, theirs = white[:, : y.shape[1]], white[:, y.shape[1] :]
        log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
        evidence = -jnp.sum(ours**2) / 2 - y.shape[1] * (log_det + train / 2 * math.log(2 * math.pi))
        return jnp.einsum("at,ao->to", theirs, ours, precision="highest"), evidence

    value = both(kernel)
    slope = jax.jacfwd(both)(kernel)
    curvature = jax.jacfwd(jax.jacfwd(both))(kernel)
    first = lambda d: jnp.einsum("...ab,ab->...", d, kernel_shift, precision="highest")
    second = lambda d: jnp.einsum("...abcd,abcd->...", d, vertex, precision="highest") / 2
    pulled = jnp.einsum("abcd,cd->ab", vertex, slope[1], precision="highest")
    mean = first(slope[0]) + second(curvature[0]) + jnp.einsum("...ab,ab->...", slope[0], pulled, precision="highest")
    evidence = first(slope[1]) + second(curvature[1]) + jnp.sum(slope[1] * pulled) / 2
    return FiniteWidthPosterior(value[0], mean, value[1], evidence)
