"""Power-series features: f(w.x) = sum_k a_k (w.x)^k by products of random signs.

Feature l draws a degree k with probability P(k) proportional to base^-(k+1) among the degrees with a_k != 0, and k
vectors r_j of independent signs:

    Phi_l(x) = (|a_k| / (m P(k)))^(1/2) prod_{j <= k} r_j.x,    Psi_l(w) = sign(a_k) (same of w).

A product's second moment is a_k^2 / P(k) (|x|^2 |w|^2 + 2 (w.x)^2 - 2 sum_i x_i^2 w_i^2)^k for degree k. A bias b joins
the weights as (w, b) where the input is (x, 1).

Kar and Karnick, "Random Feature Maps for Dot Product Kernels", AISTATS 2012, section 3; Sehanobish et al., "Scalable
Neural Network Kernels", ICLR 2024, section 3.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jaxlib_methods.numerics.checks import require, require_size
from jaxlib_methods.numerics.projections import random_rows

__all__ = ["PowerSeriesConstants", "PowerSeriesKernel", "exp_series", "gelu_series", "linear_series", "tanh_series"]


class PowerSeriesConstants(NamedTuple):
    """Frozen signs, degree and weight of m features, K vectors each, of which the first `degree` are multiplied."""

    signs: Float[Array, "k m d"]
    bias_signs: Float[Array, "k m"] | None
    degree: Int32[Array, " m"]
    amplitude: Float[Array, " m"]
    sign: Float[Array, " m"]


@dataclass(frozen=True)
class PowerSeriesKernel:
    """The kernel f(w.x + b) of a power series.

    Attributes:
      coefficients: a_0, a_1, ..., a_K; see `gelu_series`.
      base: of the law of degrees, above 1; large bases draw small degrees.

    Raises:
      ValueError: if no coefficient but a_0 differs from 0, one is not finite, or the base is not above 1.
    """

    coefficients: tuple[float, ...]
    base: float = 2.0

    def __post_init__(self):
        """Checks the series."""
        known = all(math.isfinite(a) for a in self.coefficients) and any(self.coefficients)
        require(known, "coefficients", self.coefficients, "finite numbers, not all 0")
        require(self.base > 1, "base", self.base, "above 1")

    @property
    def offset(self) -> float:
        """Constant term, which no feature carries."""
        return self.coefficients[0]

    def width(self, num_features: int) -> int:
        """Real features to a row: m."""
        return num_features

    def constants(
        self, key: Array, dim: int, num_features: int, *, bias: bool, law: str, dtype: jax.typing.DTypeLike
    ) -> PowerSeriesConstants:
        """Draws degrees and signs; `law` must be "gaussian", the default, and is not used."""
        require(law == "gaussian", "law", repr(law), "'gaussian': power series have one law, of random signs")
        degree_key, sign_key = jax.random.split(key)
        degrees, coefficients, probabilities = self._law()
        drawn = jax.random.categorical(degree_key, jnp.log(jnp.asarray(probabilities)), shape=(num_features,))
        most = int(degrees.max())
        signs = random_rows(sign_key, most * num_features, dim + bias, law="rademacher", dtype=dtype)
        signs = signs.reshape(most, num_features, dim + bias)
        weight = np.sqrt(np.abs(coefficients) / (num_features * probabilities))
        return PowerSeriesConstants(
            signs[..., :dim],
            signs[..., dim] if bias else None,
            jnp.asarray(degrees, jnp.int32)[drawn],
            jnp.asarray(weight, dtype)[drawn],
            jnp.asarray(np.sign(coefficients), dtype)[drawn],
        )

    def input_features(self, constants: PowerSeriesConstants, x: Array) -> tuple[Array, None]:
        """Rows of Phi; they need no scale."""
        return _products(constants, x, jnp.ones(len(x), x.dtype)), None

    def weight_features(self, constants: PowerSeriesConstants, weight: Array, bias: Array | None) -> Array:
        """Rows of Psi, one for each column of `weight`."""
        bias = jnp.zeros(weight.shape[1], weight.dtype) if bias is None else bias
        return _products(constants, weight.T, bias) * constants.sign.astype(weight.dtype)[None]

    def moments(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Mean f(w.x + b) of the truncated series and variance of one feature; x extended by 1 where b is not 0."""
        z = (w * x).sum(1) + b
        xx, ww = (x * x).sum(1) + (b != 0), (w * w).sum(1) + b**2
        square = xx * ww + 2 * z**2 - 2 * ((w * x) ** 2).sum(1) - 2 * b**2
        degrees, coefficients, probabilities = self._law()
        terms = zip(degrees.tolist(), coefficients.tolist(), probabilities.tolist(), strict=True)
        second, mean = jnp.zeros_like(z), jnp.zeros_like(z)
        for degree, a, p in terms:
            second, mean = second + a**2 / p * square**degree, mean + a * z**degree
        return self.offset + mean, second - mean**2

    def _law(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Degrees above 0 with a coefficient, the coefficients, and the probabilities of the degrees."""
        coefficients = np.asarray(self.coefficients, float)
        degrees = np.flatnonzero(coefficients[1:]) + 1
        probabilities = self.base ** -(degrees + 1.0)
        return degrees, coefficients[degrees], probabilities / probabilities.sum()


def linear_series() -> tuple[float, ...]:
    """Coefficients of f(z) = z, which is exact in expectation.

    >>> linear_series()
    (0.0, 1.0)
    """
    return (0.0, 1.0)


def gelu_series(degree: int) -> tuple[float, ...]:
    """Coefficients of GELU(z) = z P(N(0, 1) <= z) up to an even degree.

    a_1 = 1/2,    a_2j = (-1)^(j-1) / ((2 pi)^(1/2) 2^(j-1) (2 j - 1) (j - 1)!).

    Raises:
      ValueError: if the degree is below 2.

    >>> [round(a, 4) for a in gelu_series(4)]
    [0.0, 0.5, 0.3989, 0.0, -0.0665]
    """
    require_size("degree", degree, 2)
    even = lambda j: (-1) ** (j - 1) / (math.sqrt(2 * math.pi) * 2 ** (j - 1) * (2 * j - 1) * math.factorial(j - 1))
    return (0.0, 0.5, *(0.0 if k % 2 else even(k // 2) for k in range(2, degree + 1)))


def tanh_series(degree: int) -> tuple[float, ...]:
    """Coefficients of tanh(z) about 0 up to a degree; the series converges for |z| < pi / 2.

    From tanh' = 1 - tanh^2: (k + 1) a_{k+1} = [k = 0] - sum_{i + j = k} a_i a_j.

    Raises:
      ValueError: if the degree is below 1.

    >>> [round(a, 4) for a in tanh_series(5)]
    [0.0, 1.0, 0.0, -0.3333, 0.0, 0.1333]
    """
    require_size("degree", degree)
    a = [0.0]
    for k in range(degree):
        a.append(((k == 0) - sum(a[i] * a[k - i] for i in range(k + 1))) / (k + 1))
    return tuple(a)


def exp_series(degree: int) -> tuple[float, ...]:
    """Coefficients of exp(z) up to a degree.

    Raises:
      ValueError: if the degree is below 1.

    >>> exp_series(2)
    (1.0, 1.0, 0.5)
    """
    require_size("degree", degree)
    return tuple(1 / math.factorial(k) for k in range(degree + 1))


def _products(constants: PowerSeriesConstants, x: Array, extension: Array) -> Array:
    amplitude = constants.amplitude.astype(x.dtype)[None]
    result = jnp.broadcast_to(amplitude, (len(x), amplitude.shape[1]))
    for k in range(constants.signs.shape[0]):
        projected = jnp.einsum("nd,md->nm", x, constants.signs[k].astype(x.dtype), precision="highest")
        if constants.bias_signs is not None:
            projected = projected + extension[:, None] * constants.bias_signs[k].astype(x.dtype)[None]
        result = result * jnp.where(k < constants.degree[None], projected, 1)
    return result
