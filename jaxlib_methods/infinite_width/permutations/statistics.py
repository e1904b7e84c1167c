"""Mean and variance of a wide network that was trained on the basis vectors, at an input with m ones: closed forms.

A network f(x) = (s^2 / sqrt(n k)) V relu(W^T x) of width n -> infinity learns e_i -> e_pi(i), i = 1..k, by gradient
descent on |f - y|^2 / 2. At x / sqrt(m), with cos theta = 1 / sqrt(m) and b = 1 / (2 pi), its kernels with e_i are
s^4 / k times

    NNGP  q = b (sin theta + (pi - theta) cos theta),    NTK  g = q + b (pi - theta) cos theta        if x_i = 1,

and b for both if x_i = 0. Those between basis vectors are s^4 / k (a I + b 11^T), a = 1 - b for the NTK and 1/2 - b for
the NNGP kernel: two eigenvalues, (a + b k) s^4 / k of the constant vector and a s^4 / k of the rest. What is learned of
the two until time t are the shares

    L, l = 1 - exp(-rate t eigenvalue)   or   1 - (1 - rate eigenvalue)^t,      both 1 at t = infinity,

so that with h = m (g - b) - a, 0 at m = 1 and positive beyond, a true zero and a true one come out at

    mu_0 = (L - l + h (L / (a + b k) - l / a)) / k,      mu_1 = mu_0 + l (g - b) / a.

The variance is that of regression with the NNGP kernel, plus the squared distance of the two regressions:

    k variance / s^4 = r + (A - A*)^2 (a* + b k) / k + (B - B*)^2 a* m (1 - m / k),
    A = L (1 + h / (a + b k)),    B = l (g - b) / a,    stars: the same with q, a* = 1/2 - b and L = l = 1,
    r = a* (1 - 1/m) - 2 h* / m - h*^2 (1 / (k (a* + b k)) + (1/m - 1/k) / a*).

No term loses digits, at any k, m or t: the differences g - b - a and q - b - a* are made of terms that are exactly 0 at
m = 1, however a machine rounds, so that all three statistics of a learned basis vector are exact. Networks in standard
parametrization train their readout alone when they are wide; for them take the NNGP kernel in place of the NTK.

Derived; Giapitzakis, Back de Luca and Fountoulakis, "Exact Learning of Permutations for Nonzero Binary Inputs with
Logarithmic Training Size and Quadratic Ensemble Complexity", 2025.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require_choice, require_known, require_nonnegative, require_positive

__all__ = ["PermutationStatistics", "TrainingEigenvalues", "permutation_statistics", "training_eigenvalues"]

B = 1 / (2 * math.pi)
OFFSET = {"ntk": 1 - B, "nngp": 0.5 - B}


class PermutationStatistics(NamedTuple):
    """Means of outputs whose target is 1 and 0, and the variance of either; outputs are independent."""

    ones: Float[Array, "*b"]
    zeros: Float[Array, "*b"]
    variance: Float[Array, "*b"]


class TrainingEigenvalues(NamedTuple):
    """Of the kernel between the basis vectors: of the constant vector (the largest), and of all orthogonal to it."""

    constant: Float[Array, "*b"]
    rest: Float[Array, "*b"]


def permutation_statistics(
    k: ArrayLike,
    m: ArrayLike,
    *,
    kernel: str = "ntk",
    t: ArrayLike | None = None,
    learning_rate: ArrayLike = 1.0,
    dynamics: str = "flow",
    weight_std: ArrayLike = 1.0,
) -> PermutationStatistics:
    """Mean and variance of the outputs at a binary input of m ones, scaled to unit length, after training.

    Args:
      k: length of the inputs.
      m: number of ones, from 1 to k. Any shapes that broadcast, whole numbers or not.
      kernel: "ntk" for the NTK parametrization, "nngp" for the standard one (or a trained readout alone), whose rate is
        then the learning rate times the width.
      t: training time; None for infinitely long.
      learning_rate: on the loss |f - y|^2 / 2, summed over inputs and outputs. For a mean over all k^2 outputs,
        multiply by 2 / k^2.
      dynamics: "flow" for gradient flow, "descent" for t steps of gradient descent.
      weight_std: s.

    Returns:
      The statistics. Before the end of training `zeros` may be positive: an early stop is not exact.

    Raises:
      ValueError: if an option is unknown or a known number is out of range.

    Cost: O(1). The derivative in m is infinite at m = 1 for the NTK; steps beyond stability (`training_eigenvalues`)
    give what descent gives, numbers that grow with t.

    >>> [round(float(value), 5) for value in permutation_statistics(10, 2)]
    [0.56542, -0.00985, 0.00652]
    """
    require_choice("kernel", kernel, ("ntk", "nngp"))
    require_choice("dynamics", dynamics, ("flow", "descent"))
    require_positive("k", k)
    require_known("m", m, lambda m: np.isfinite(m) & (m >= 1), "at least 1 and finite")
    require_nonnegative("learning_rate", learning_rate)
    k, m, rate = as_floating(k, m, learning_rate, *(() if t is None else (t,)), weight_std)[:3]
    eigenvalues = training_eigenvalues(k, kernel=kernel, weight_std=weight_std)
    if t is None:
        all_learned = rest_learned = jnp.ones_like(k)
    else:
        require_nonnegative("t", t)
        all_learned, rest_learned = (_learned(rate * value, jnp.asarray(t, k.dtype), dynamics) for value in eigenvalues)

    a, best = OFFSET[kernel], OFFSET["nngp"]
    best_below, ntk_below = _below_the_diagonal(m)
    below = ntk_below if kernel == "ntk" else best_below
    h, best_h = m * below + (m - 1) * a, m * best_below + (m - 1) * best
    zeros = (all_learned - rest_learned + h * (all_learned / (a + B * k) - rest_learned / a)) / k
    weight = rest_learned * (1 + below / a)

    constant_gap = all_learned * (1 + h / (a + B * k)) - (1 + best_h / (best + B * k))
    rest_gap = weight - (1 + best_below / best)
    curvature = 1 / (k * (best + B * k)) + (1 / m - 1 / k) / best
    residual = best * ((m - 1) / m) - 2 * best_h / m - best_h**2 * curvature
    distance = constant_gap**2 * (best + B * k) / k + rest_gap**2 * best * m * (1 - m / k)
    variance = jnp.asarray(weight_std, k.dtype) ** 4 / k * (residual + distance)
    return PermutationStatistics(zeros + weight, *jnp.broadcast_arrays(zeros, variance))


def training_eigenvalues(k: ArrayLike, *, kernel: str = "ntk", weight_std: ArrayLike = 1.0) -> TrainingEigenvalues:
    """Eigenvalues of the kernel between the k basis vectors: (a + b k) s^4 / k once, a s^4 / k otherwise.

    Gradient descent on |f - y|^2 / 2 is stable below 2 / the first, and learns at the rate of the second.

    Args:
      k: length of the inputs.
      kernel: as in `permutation_statistics`.
      weight_std: s.

    Raises:
      ValueError: if the kernel is unknown or a known number is not positive.

    >>> [round(float(value), 4) for value in training_eigenvalues(4)]
    [0.3694, 0.2102]
    """
    require_choice("kernel", kernel, ("ntk", "nngp"))
    require_positive("k", k)
    require_positive("weight_std", weight_std)
    k, std = as_floating(k, weight_std)
    scale, a = std**4 / k, OFFSET[kernel]
    return TrainingEigenvalues(scale * (a + B * k), scale * a)


def nngp_with_basis(m: Array) -> Array:
    """k times the NNGP kernel between an input of m ones and a basis vector among them."""
    return 0.5 + _below_the_diagonal(m)[0]


def _below_the_diagonal(m: Array) -> tuple[Array, Array]:
    """q - 1/2 and g - 1: k times the NNGP kernel and the NTK with a basis vector, less those of the vector itself."""
    theta, cosine = jnp.arctan2(jnp.sqrt(m - 1), 1.0), 1 / jnp.sqrt(m)
    turned, lost = theta * cosine, math.pi * ((m - 1) / m) / (1 + cosine)  # the second is pi (1 - cos theta)
    nngp = B * (jnp.sqrt((m - 1) / m) - turned - lost)
    return nngp, nngp - B * (turned + lost)


def as_floating(*values: ArrayLike) -> list[Array]:
    """Arrays of the floating dtype that all have in common, float32 at least; whole numbers count as Python's."""
    dtype = jnp.promote_types(jnp.result_type(float, *values), jnp.float32)
    return [jnp.asarray(value, dtype) for value in values]


def _learned(x: Array, t: Array, dynamics: str) -> Array:
    return -jnp.expm1(-x * t) if dynamics == "flow" else 1 - (1 - x) ** t
