"""ReLU features: the arc-cosine kernel of first order, in which x and w meet only through their angle and lengths.

    Phi_l(x) = m^(-1/2) max(g_l.x, t),    Psi_l(w) = m^(-1/2) max(g_l.w, t),    g_l ~ N(0, I) shared.

At threshold t = 0, with theta the angle between x and w, the mean and one feature's second moment are

    K(x, w) = |x| |w| / (2 pi) (sin theta + (pi - theta) cos theta),
    E[(max(g.x, 0) max(g.w, 0))^2] = |x|^2 |w|^2 / (2 pi) (3 sin theta cos theta + (pi - theta)(1 + 2 cos^2 theta)).

K is no function of w.x alone: it is not an estimate of relu(w.x), and a layer made from pretrained weights computes
another function. A bias b joins the weights as (w, b) where the input is (x, 1).

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, section 3.1.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require, require_finite, require_positive
from jaxlib_methods.numerics.projections import random_rows

__all__ = ["ReluConstants", "ReluKernel"]


class ReluConstants(NamedTuple):
    """Frozen projections of m features in d dimensions, and of the bias where there is one."""

    projections: Float[Array, "m d"]
    bias_projections: Float[Array, " m"] | None


@dataclass(frozen=True)
class ReluKernel:
    """The kernel of rectified projections.

    Attributes:
      threshold: t; below 0 the features leak.
      bias_input: what x is extended by where there is a bias.

    Raises:
      ValueError: if the threshold is not finite or the bias input is not positive.
    """

    threshold: float = 0.0
    bias_input: float = 1.0

    def __post_init__(self):
        """Checks the options."""
        require_finite("threshold", self.threshold)
        require_positive("bias_input", self.bias_input)

    @property
    def offset(self) -> float:
        """Constant term, which no feature carries: none."""
        return 0.0

    def width(self, num_features: int) -> int:
        """Real features to a row: m."""
        return num_features

    def constants(
        self, key: Array, dim: int, num_features: int, *, bias: bool, law: str, dtype: jax.typing.DTypeLike
    ) -> ReluConstants:
        """Draws the projections, one dimension more with a bias."""
        rows = random_rows(key, num_features, dim + bias, law=law, dtype=dtype)
        return ReluConstants(rows[:, :dim], rows[:, dim] if bias else None)

    def input_features(self, constants: ReluConstants, x: Array) -> tuple[Array, None]:
        """Rows of Phi; they need no scale."""
        return self._features(constants, x, jnp.full(len(x), self.bias_input, x.dtype)), None

    def weight_features(self, constants: ReluConstants, weight: Array, bias: Array | None) -> Array:
        """Rows of Psi, one for each column of `weight`."""
        return self._features(constants, weight.T, jnp.zeros(weight.shape[1], weight.dtype) if bias is None else bias)

    def moments(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Mean and variance of one feature, for x and w extended by (bias input, b) where b is not 0."""
        require(self.threshold == 0, "threshold", self.threshold, "0 for the closed form")
        extended = jnp.where(b == 0, 0, self.bias_input)
        xx, ww = (x * x).sum(1) + extended**2, (w * w).sum(1) + b**2
        lengths = jnp.sqrt(xx * ww)
        cosine = ((x * w).sum(1) + extended * b) / jnp.where(lengths > 0, lengths, 1)
        cosine = jnp.clip(cosine, -1, 1)
        theta, sine = jnp.arccos(cosine), jnp.sqrt(1 - cosine**2)
        mean = lengths / (2 * math.pi) * (sine + (math.pi - theta) * cosine)
        square = (3 * sine * cosine + (math.pi - theta) * (1 + 2 * cosine**2)) * lengths**2 / (2 * math.pi)
        return mean, square - mean**2

    def _features(self, constants, x, extension) -> Array:
        projections = constants.projections.astype(x.dtype)
        projected = jnp.einsum("nd,md->nm", x, projections, precision="highest")
        if constants.bias_projections is not None:
            projected = projected + extension[:, None] * constants.bias_projections.astype(x.dtype)[None]
        return jnp.maximum(projected, self.threshold) / math.sqrt(projections.shape[0])
