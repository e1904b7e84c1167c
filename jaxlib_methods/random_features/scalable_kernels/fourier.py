"""Universal random features: f(w.x + b) for any f with a spectrum, by Gaussian projections of x and w apart.

With alpha beta = 2 pi i xi and any damping M >= 0,

    e^(2 pi i xi w.x) = E_{g ~ N(0, I)}[L_g(alpha x) L_g(beta w)],
    L_g(z) = (1 + 4 M)^(d/4) exp(sqrt(1 + 4 M) g.z - z.z / 2 - M |g|^2)        (z.z bilinear),

so that f(w.x + b) = offset + Re E[Phi Psi] with, for feature l = 1..m,

    Phi_l(x) = (c / m)^(1/2) L_g(alpha x),    Psi_l(w, b) = (c / m)^(1/2) u(xi) e^(2 pi i xi b) L_g(beta w).

Complex features are kept as interleaved pairs (Re Phi, Im Phi) and (Re Psi, -Im Psi), whose inner product is
Re(Phi Psi). Exponents are summed before they are exponentiated, and every row of Phi is taken relative to its largest
entry. Splits, with s the scale and t = 2 pi xi:

    "sym"     alpha = s e^(i pi sign(t) / 4) |t|^(1/2),   beta = e^(i pi sign(t) / 4) |t|^(1/2) / s
    "input"   alpha = i t s,                              beta = 1 / s
    "weight"  alpha = s,                                  beta = i t / s      (Phi real: half the width)

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, section 3.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require, require_choice, require_nonnegative, require_positive
from jaxlib_methods.numerics.projections import random_rows
from jaxlib_methods.numerics.trigonometry import fast_cos, fast_sin
from jaxlib_methods.random_features.scalable_kernels.spectra import DensitySpectrum, LineSpectrum

__all__ = ["FourierConstants", "FourierKernel", "exponential_moments", "optimal_damping"]


class FourierConstants(NamedTuple):
    """Frozen draws of m features in d dimensions; `amplitude` is (c / m)^(1/2)."""

    projections: Float[Array, "m d"]
    xi: Float[Array, " m"]
    phase: Float[Array, " m"]
    amplitude: Float[Array, " m"]


@dataclass(frozen=True)
class FourierKernel:
    """The kernel f(w.x + b) of a function with a spectrum.

    Attributes:
      spectrum: of f.
      split: which of alpha and beta carries the frequency. A feature's variance is exponential in |2 pi xi|^2 |x|^2 for
        "input", in |2 pi xi|^2 |w|^2 for "weight", and in |2 pi xi| |s x + w / s|^2 for "sym".
      damping: M, see `optimal_damping`; (1 + 4 M)^d / (1 + 8 M)^(d/2) multiplies the second moment.
      scale: s, moves length from the inputs to the weights.

    Raises:
      ValueError: for an unknown split, a negative damping or a scale that is not positive.
    """

    spectrum: LineSpectrum | DensitySpectrum
    split: Literal["sym", "input", "weight"] = "sym"
    damping: float = 0.0
    scale: float = 1.0

    def __post_init__(self):
        """Checks the options."""
        require_choice("split", self.split, ("sym", "input", "weight"))
        require_nonnegative("damping", self.damping)
        require_positive("scale", self.scale)

    @property
    def offset(self) -> float:
        """Constant term of f, which no feature carries."""
        return self.spectrum.offset

    def width(self, num_features: int) -> int:
        """Real features to a row: m if Phi is real, else 2 m."""
        return num_features if self.split == "weight" else 2 * num_features

    def constants(
        self, key: Array, dim: int, num_features: int, *, bias: bool, law: str, dtype: jax.typing.DTypeLike
    ) -> FourierConstants:
        """Draws projections and frequencies; a bias is a phase and needs no projection."""
        projection_key, frequency_key = jax.random.split(key)
        projections = random_rows(projection_key, num_features, dim, law=law, dtype=dtype)
        xi, phase, mass = self.spectrum.draw(frequency_key, num_features, dtype)
        return FourierConstants(projections, xi, phase, jnp.sqrt(mass / num_features))

    def input_features(self, constants: FourierConstants, x: Array) -> tuple[Array, Array]:
        """Rows of Phi divided by e^s, and s as a column."""
        real, imaginary = self._split(constants.xi)[0]
        log_modulus, angle = self._exponent(constants, x, real, imaginary, "x")
        top = jax.lax.stop_gradient(log_modulus.max(-1, keepdims=True))
        modulus = constants.amplitude.astype(x.dtype)[None] * jnp.exp(log_modulus - top)
        if self.split == "weight":
            return modulus, top
        return _pairs(modulus * fast_cos(angle), modulus * fast_sin(angle)), top

    def weight_features(self, constants: FourierConstants, weight: Array, bias: Array | None) -> Array:
        """Rows of Psi, one for each column of `weight`."""
        real, imaginary = self._split(constants.xi)[1]
        log_modulus, angle = self._exponent(constants, weight.T, real, imaginary, "weight")
        xi, phase, amplitude = (a.astype(angle.dtype)[None] for a in constants[1:])
        angle = angle + phase
        if bias is not None:
            angle = angle + 2 * math.pi * bias[:, None] * xi
        modulus = amplitude * jnp.exp(log_modulus)
        if self.split == "weight":
            return modulus * fast_cos(angle)
        return _pairs(modulus * fast_cos(angle), -modulus * fast_sin(angle))

    def moments(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Mean f(w.x + b), and the variance of one feature; infinite where the average over xi diverges."""
        xi, phase, log_weight = (jnp.asarray(a, x.dtype)[None] for a in self.spectrum.nodes())
        alpha, beta = (jax.lax.complex(*parts) for parts in self._split(xi))
        xx, xw, ww = ((u * v).sum(1, keepdims=True) for u, v in ((x, x), (x, w), (w, w)))
        abs_square, square = _log_moments(alpha, beta, xx, xw, ww, x.shape[1], self.damping)
        angle = square.imag + 2 * (phase + 2 * math.pi * xi * b[:, None])
        log_total = log_weight + abs_square
        peak = log_total.max(1)
        terms = jnp.exp(log_total) + jnp.exp(log_weight + square.real) * jnp.cos(angle)
        finite = jnp.isfinite(peak)
        if isinstance(self.spectrum, DensitySpectrum):  # at the last nodes |xi| = 11,000
            finite &= jnp.maximum(log_total[:, 0], log_total[:, -1]) < peak - 30
        z = xw[:, 0] + b
        mean = self.spectrum.function(z)
        if isinstance(self.spectrum, LineSpectrum) and self.spectrum.stratified:
            subtracted = len(self.spectrum.lines) * sum(term**2 for term in self.spectrum.terms(z))
        else:
            subtracted = (mean - self.spectrum.offset) ** 2
        return mean, jnp.where(finite, terms.sum(1) / 2 - subtracted, jnp.inf)

    def _split(self, xi: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """(Re alpha, Im alpha), (Re beta, Im beta)."""
        t, s = 2 * math.pi * xi, self.scale
        one, zero = jnp.ones_like(t), jnp.zeros_like(t)
        if self.split == "input":
            return (zero, s * t), (one / s, zero)
        if self.split == "weight":
            return (s * one, zero), (zero, t / s)
        root = jnp.sqrt(jnp.abs(t) / 2)
        return (s * root, s * root * jnp.sign(t)), (root / s, root * jnp.sign(t) / s)

    def _exponent(self, constants, x, real, imaginary, name) -> tuple[Array, Array]:
        """log |L_g(a x)| and its angle, a = real + i imaginary: (n, m)."""
        _require_range(name, x, jnp.sqrt(jnp.max(real**2 + imaginary**2)))
        g = constants.projections.astype(x.dtype)
        real, imaginary = real.astype(x.dtype)[None], imaginary.astype(x.dtype)[None]
        m, d = self.damping, g.shape[1]
        projected = math.sqrt(1 + 4 * m) * jnp.einsum("nd,md->nm", x, g, precision="highest")
        square = (x**2).sum(1, keepdims=True)
        constant = d / 4 * math.log1p(4 * m) - m * (g**2).sum(1)[None]
        log_modulus = real * projected - (real**2 - imaginary**2) * square / 2 + constant
        return log_modulus, imaginary * projected - real * imaginary * square


def exponential_moments(
    alpha: complex, beta: complex, x: Float[Array, " d"], w: Float[Array, " d"], *, damping: float = 0.0
) -> tuple[Array, Array, Array]:
    """Exact moments of one product Y = L_g(alpha x) L_g(beta w) over g: E Y, E |Y|^2 and E Y^2.

    With q = (1 + 4 M)^d (1 + 8 M)^(-d/2), h = 2 (1 + 4 M) / (1 + 8 M) and z = alpha x + beta w:

        E Y     = exp(alpha beta x.w)
        E |Y|^2 = q exp(h |Re z|^2 - Re(alpha^2) |x|^2 - Re(beta^2) |w|^2)
        E Y^2   = q exp(h z.z - alpha^2 |x|^2 - beta^2 |w|^2)

    Args:
      alpha: factor of x.
      beta: factor of w.
      x: input.
      w: weight.
      damping: M.

    Returns:
      E Y (complex), E |Y|^2 (real), E Y^2 (complex).

    Raises:
      ValueError: if the damping is negative.

    >>> moments = exponential_moments(1j, 1.0, jnp.ones(1), jnp.ones(1))
    >>> round(float(moments[1]), 3)  # exp(|x|^2 + |w|^2)
    7.389
    """
    require_nonnegative("damping", damping)
    xx, xw, ww = (x * x).sum(), (x * w).sum(), (w * w).sum()
    a, b = jnp.asarray(complex(alpha)), jnp.asarray(complex(beta))
    abs_square, square = _log_moments(a, b, xx, xw, ww, x.shape[0], damping)
    return jnp.exp(a * b * xw), jnp.exp(abs_square), jnp.exp(square)


def optimal_damping(s: Float[Array, "*b"], dim: int) -> Float[Array, "*b"]:
    """The damping with the least second moment of |L_g(alpha x) L_g(beta w)|.

    M* = (4 s - 2 d + sqrt((2 d - 4 s)^2 + 64 d s)) / (32 d),   s = |Re(alpha) x + Re(beta) w|^2.

    Args:
      s: squared length as above, any shape; its average over pairs serves for many.
      dim: d, at least 1.

    Raises:
      ValueError: if a known s is negative or d is below 1.

    >>> round(float(optimal_damping(jnp.array(1.0), 4)), 4)
    0.0976
    """
    require(dim >= 1, "dim", dim, "at least 1")
    require_nonnegative("s", s)
    return (4 * s - 2 * dim + jnp.sqrt((2 * dim - 4 * s) ** 2 + 64 * dim * s)) / (32 * dim)


def _log_moments(alpha, beta, xx, xw, ww, dim, damping) -> tuple[Array, Array]:
    """log E |Y|^2 and log E Y^2."""
    log_q = dim * math.log1p(4 * damping) - dim / 2 * math.log1p(8 * damping)
    h = 2 * (1 + 4 * damping) / (1 + 8 * damping)
    real = alpha.real**2 * xx + 2 * alpha.real * beta.real * xw + beta.real**2 * ww
    own = alpha**2 * xx + beta**2 * ww
    return log_q + h * real - own.real, log_q + (h - 1) * own + 2 * h * alpha * beta * xw


def _pairs(real: Array, imaginary: Array) -> Array:
    return jnp.stack([real, imaginary], -1).reshape(*real.shape[:-1], -1)


def _require_range(name: str, x: Array, factor: Array) -> None:
    """Refuses known vectors whose root-mean-square feature exp(|a|^2 |x|^2 / 2) overflows."""
    if isinstance(x, Tracer) or isinstance(factor, Tracer) or not x.size or not jnp.asarray(x).is_fully_addressable:
        return
    limit = math.sqrt(2 * math.log(float(jnp.finfo(x.dtype).max))) / max(float(factor), 1e-30)
    longest = float(np.sqrt(np.max(np.sum(np.square(np.asarray(x, np.float64)), -1))))
    needed = f"vectors of norm at most {limit:.3g} for these frequencies (the expected exponent overflows beyond)"
    require(longest <= limit, name, f"norm {longest:.3g}", needed + "; scale them down, or move the scale")
