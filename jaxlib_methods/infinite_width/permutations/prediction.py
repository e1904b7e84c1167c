"""The trained network at given inputs: a Gaussian over random networks, with the same covariance for every output.

With C(x) the regression weights on the k training outputs, mu_1 where x_i = 1 and mu_0 where x_i = 0,

    mean P C(x),    covariance  K(x, x') + C K C'^T - C K(., x') - K(x, .) C'^T,

K(x, x') = s^4 / k times half the arc-cosine function of the angle between the inputs. See `statistics` for mu.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from jaxlib_methods.infinite_width.permutations.binary_inputs import permute_bits, require_bits
from jaxlib_methods.infinite_width.permutations.statistics import (
    OFFSET,
    B,
    as_floating,
    nngp_with_basis,
    permutation_statistics,
)
from jaxlib_methods.numerics.arc_cosine import arc_cosine

__all__ = ["PermutationPrediction", "permutation_covariance", "permutation_prediction"]


class PermutationPrediction(NamedTuple):
    """Mean of every output, and the variance that they share."""

    mean: Float[Array, "*b k"]
    variance: Float[Array, "*b"]


def permutation_prediction(
    permutation: Int[Array, " k"],
    x: Shaped[Array, "*b k"],
    *,
    kernel: str = "ntk",
    t: ArrayLike | None = None,
    learning_rate: ArrayLike = 1.0,
    dynamics: str = "flow",
    weight_std: ArrayLike = 1.0,
    normalise: bool = True,
) -> PermutationPrediction:
    """Mean and variance of the trained network's outputs at binary inputs.

    Args:
      permutation: pi, what was learned: e_i -> e_pi(i).
      x: binary inputs of any dtype. Without bias, one of zeros gives 0 without variance.
      kernel: as in `permutation_statistics`, like the other options.
      t: training time; None for infinitely long.
      learning_rate: on |f - y|^2 / 2.
      dynamics: "flow" or "descent".
      weight_std: s.
      normalise: inputs are divided by their length; else outputs are sqrt(m) times as large, of the same signs.

    Returns:
      The prediction, in the dtype of `x` if that is floating; float32 at least.

    Raises:
      ValueError: as `permutation_statistics` and `permute_bits`, and if a known entry of `x` is neither 0 nor 1.

    Cost: O(k) an input.

    >>> prediction = permutation_prediction(jnp.array([2, 0, 1]), jnp.array([[1, 0, 0], [1, 1, 0]]))
    >>> prediction.mean[0].tolist(), round(float(prediction.variance[1]), 4)
    ([0.0, 0.0, 1.0], 0.0223)
    """
    require_bits("x", x, len(permutation))
    (x,) = as_floating(x)
    options = {"kernel": kernel, "t": t, "learning_rate": learning_rate, "dynamics": dynamics}
    m = x.sum(-1)
    statistics = permutation_statistics(len(permutation), jnp.maximum(m, 1), **options, weight_std=weight_std)
    scale = (m > 0).astype(x.dtype) if normalise else jnp.sqrt(m)
    mean = jnp.where(x > 0, statistics.ones[..., None], statistics.zeros[..., None])
    return PermutationPrediction(permute_bits(permutation, scale[..., None] * mean), scale**2 * statistics.variance)


def permutation_covariance(
    x: Shaped[Array, "n k"],
    *,
    kernel: str = "ntk",
    t: ArrayLike | None = None,
    learning_rate: ArrayLike = 1.0,
    dynamics: str = "flow",
    weight_std: ArrayLike = 1.0,
) -> Float[Array, "n n"]:
    """Covariance, between binary inputs scaled to unit length, of any one output of the trained network.

    Args:
      x: binary inputs, none of zeros alone.
      kernel: as in `permutation_statistics`, like the other options.
      t: training time; None for infinitely long.
      learning_rate: on |f - y|^2 / 2.
      dynamics: "flow" or "descent".
      weight_std: s.

    Returns:
      The matrix, in the dtype of `x` if that is floating; float32 at least. Singular where an input is a basis vector
      and training was infinitely long.

    Raises:
      ValueError: as `permutation_statistics`, and if a known entry of `x` is neither 0 nor 1.

    Cost: O(n^2 k).

    >>> covariance = permutation_covariance(jnp.array([[1, 1, 0], [0, 1, 1]]))
    >>> [round(float(entry), 3) for entry in covariance[0]]
    [0.022, 0.003]
    """
    k = jnp.shape(x)[-1]
    require_bits("x", x, k)
    (x,) = as_floating(x)
    m = x.sum(1)
    options = {"kernel": kernel, "t": t, "learning_rate": learning_rate, "dynamics": dynamics}
    statistics = permutation_statistics(k, m, **options, weight_std=weight_std)
    weights = jnp.where(x > 0, statistics.ones[:, None], statistics.zeros[:, None])
    basis = jnp.where(x > 0, nngp_with_basis(m)[:, None], B)
    product = lambda a, b: jnp.einsum("ni,mi->nm", a, b, precision="highest")
    lengths = jnp.sqrt(m)
    own = arc_cosine(product(x, x) / (lengths[:, None] * lengths[None])) / 2
    total = weights.sum(1)
    trained = OFFSET["nngp"] * product(weights, weights) + B * total[:, None] * total[None]
    cross = product(weights, basis)
    return jnp.asarray(weight_std, x.dtype) ** 4 / k * (own + trained - cross - cross.T)
