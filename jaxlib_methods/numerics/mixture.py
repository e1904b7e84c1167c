"""Mixtures of Gaussians, each component low rank plus isotropic.

p(x) = sum_k pi_k N(x; mu_k, Sigma_k + noise I).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_size
from jaxlib_methods.numerics.gaussian import Gaussian, gaussian_log_density, gaussian_sample
from jaxlib_methods.numerics.softmax import softmax_merge, softmax_part, softmax_result

__all__ = ["GaussianMixture", "mixture_average", "mixture_log_density", "mixture_responsibilities", "mixture_sample"]


class GaussianMixture(NamedTuple):
    """`K` Gaussians with weights that sum to one; every leaf of `components` has a leading axis of K."""

    weights: Float[Array, " K"]
    components: Gaussian


def mixture_log_density(
    mixture: GaussianMixture, x: Float[Array, "b d"], *, noise: Float[ArrayLike, ""] | Float[ArrayLike, " b"] = 0.0
) -> Float[Array, " b"]:
    """log p(x) of the mixture blurred by `noise`.

    Args:
      mixture: the law.
      x: rows.
      noise: variance added to every component, scalar or one a row; nonnegative.

    Raises:
      TypeError: if `x` or the weights are not floating.
      ValueError: if shapes do not match, or known weights or noise are negative.

    >>> one = Gaussian(jnp.zeros((2, 1)), jnp.ones((2, 1, 1)), jnp.ones((2, 1)), jnp.zeros(2))
    >>> float(mixture_log_density(GaussianMixture(jnp.full(2, 0.5), one), jnp.zeros((1, 1)))[0])
    -0.9189385175704956
    """
    return jax.nn.logsumexp(_log_joint(mixture, x, noise), axis=1)


def mixture_responsibilities(
    mixture: GaussianMixture, x: Float[Array, "b d"], *, noise: Float[ArrayLike, ""] | Float[ArrayLike, " b"] = 0.0
) -> Float[Array, "b K"]:
    """P(component | x), rows summing to one. Args and errors as `mixture_log_density`.

    >>> one = Gaussian(jnp.array([[-9.0], [9.0]]), jnp.ones((2, 1, 1)), jnp.ones((2, 1)), jnp.zeros(2))
    >>> mixture_responsibilities(GaussianMixture(jnp.full(2, 0.5), one), jnp.array([[9.0]])).tolist()
    [[0.0, 1.0]]
    """
    return jax.nn.softmax(_log_joint(mixture, x, noise), axis=1)


def mixture_average(
    function: Callable[[Gaussian], Array],
    mixture: GaussianMixture,
    x: Float[Array, "b d"],
    *,
    noise: Float[ArrayLike, ""] | Float[ArrayLike, " b"] = 0.0,
    block: int | None = None,
) -> Float[Array, "b k"]:
    """sum_k P(k | x) f_k, with `function` giving f_k (b, k) of one component.

    Args:
      function: of one Gaussian; called under `vmap` over components.
      mixture: the law.
      x: rows.
      noise: variance added to every component, scalar or one a row; nonnegative.
      block: components worked on at once, all if None. Memory: O(block b (d + r)).

    Errors as `mixture_log_density`.

    >>> two = Gaussian(jnp.array([[-9.0], [9.0]]), jnp.ones((2, 1, 1)), jnp.ones((2, 1)), jnp.zeros(2))
    >>> mixture_average(lambda g: g.mean[None], GaussianMixture(jnp.full(2, 0.5), two), jnp.zeros((1, 1))).tolist()
    [[0.0]]
    """
    _check(mixture, x, noise)

    def summarise(part):
        values = jnp.broadcast_to(jax.vmap(function)(part.components), (part.weights.size, *x.shape))
        return softmax_part(_log_joint(part, x, noise), values.swapaxes(0, 1))

    block = mixture.weights.size if block is None else block
    return softmax_result(reduce_rows(summarise, softmax_merge, mixture, block=block))[0]


def mixture_sample(key: Key[Array, ""], mixture: GaussianMixture, count: int) -> Float[Array, "n d"]:
    """Draws `count` rows. Memory: O(count K d), one draw from every component before the choice.

    Args:
      key: draws the components and the rows.
      mixture: the law.
      count: at least 1.

    Raises:
      ValueError: if `count` is below 1.

    >>> one = Gaussian(jnp.zeros((2, 3)), jnp.zeros((2, 3, 0)), jnp.zeros((2, 0)), jnp.ones(2))
    >>> mixture_sample(jax.random.key(0), GaussianMixture(jnp.full(2, 0.5), one), 4).shape
    (4, 3)
    """
    require_size("count", count)
    choice_key, draw_key = jax.random.split(key)
    choice = jax.random.categorical(choice_key, jnp.log(mixture.weights), shape=(count,))
    draws = jax.vmap(lambda g: gaussian_sample(draw_key, g, count))(mixture.components)
    return draws[choice, jnp.arange(count)]


def _check(mixture: GaussianMixture, x: Array, noise: ArrayLike) -> None:
    components, dim = mixture.components.mean.shape
    require_array("mixture.weights", mixture.weights, (components,))
    require_nonnegative("mixture.weights", mixture.weights)
    require_array("x", x, (None, dim))
    require_nonnegative("noise", noise)
    require(components > 0, "mixture", "no components", "at least one component")


def _log_joint(mixture: GaussianMixture, x: Array, noise: ArrayLike) -> Array:
    _check(mixture, x, noise)
    log_density = jax.vmap(lambda g: gaussian_log_density(g, x, noise=noise))(mixture.components)
    return jnp.log(mixture.weights)[None] + log_density.T
