"""Duals of piecewise linear and constant activations, and of rectified powers: functions of the angle of two inputs.

With c = k / (q1 q2)^(1/2) and theta = arccos c, for a min(x, 0) + b max(x, 0),

    V' = (a^2 + b^2) / 2 - (a - b)^2 theta / (2 pi),
    V = (q1 q2)^(1/2) (a - b)^2 sin(theta) / (2 pi) + V' k,

and 1 - 2 theta / pi for the sign, (pi - theta) / (2 pi) for the step. For max(x, 0)^n

    V_n = (q1 q2)^(n/2) [sin(theta) A_n(c) + (pi - theta) B_n(c)] / (2 pi),    V_n' = n^2 V_(n-1),
    A_(n+1) = 2 n c A_n + (1 - c^2) A_n' + B_n,    B_(n+1) = (2 n + 1) c B_n + (1 - c^2) B_n',    A_0 = 0, B_0 = 1.

At c = 1 and -1, where theta has no derivative, we take 0; the derivative of V is exact everywhere but for the steps.

Cho and Saul, "Kernel Methods for Deep Learning", 2009.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.polynomial import Polynomial

from jaxlib_methods.infinite_width.dual import DualActivation, safe_sqrt
from jaxlib_methods.numerics.checks import require_finite, require_size
from jaxlib_methods.numerics.trigonometry import fast_arctan2

__all__ = ["rectified_monomial_dual", "rectifier_dual", "sign_dual", "step_dual"]


def rectifier_dual(negative: float = 0.0, positive: float = 1.0) -> DualActivation:
    """The dual of a min(x, 0) + b max(x, 0): ReLU is (0, 1), leaky ReLU (slope, 1), the absolute value (-1, 1).

    Args:
      negative: a.
      positive: b.

    Raises:
      ValueError: if a slope is not finite.

    >>> dual = rectifier_dual()
    >>> round(float(dual.value(1.0, 1.0, 0.0)), 4), float(dual.derivative(1.0, 1.0, 0.0))  # 1 / (2 pi), 1 / 4
    (0.1592, 0.25)
    """
    require_finite("negative", negative)
    require_finite("positive", positive)
    a, b = float(negative), float(positive)
    return DualActivation(
        f"rectifier({a:g}, {b:g})",
        functools.partial(_rectify, a, b),
        functools.partial(_rectified, a, b),
        functools.partial(jnp.multiply, (a**2 + b**2) / 2),
    )


def rectified_monomial_dual(degree: int) -> DualActivation:
    """The dual of max(x, 0)^n: ReLU is n = 1.

    Args:
      degree: n, 1 to 20; for 0 see `step_dual`.

    Raises:
      ValueError: if the degree is out of range.

    >>> round(float(rectified_monomial_dual(2).value(1.0, 1.0, 1.0)), 4)  # half of the fourth moment
    1.5
    """
    require_size("degree", degree, 1, 20)
    half_moment = math.prod(range(1, 2 * degree, 2)) / 2
    return DualActivation(
        f"rectified_monomial({degree})",
        lambda x: jnp.maximum(x, 0) ** degree,
        lambda q1, q2, k: (_half_moment(degree, q1, q2, k), degree**2 * _half_moment(degree - 1, q1, q2, k)),
        lambda q: half_moment * q**degree,
    )


def sign_dual() -> DualActivation:
    """The dual of sign(x). Its V' is 0: the part of the derivative at 0 is dropped, see `DualActivation.smooth`.

    >>> sign_dual().value(2.0, 2.0, 0.0).item()
    0.0
    """
    return DualActivation("sign", jnp.sign, functools.partial(_of_angle, 1.0, -2 / jnp.pi), jnp.ones_like, smooth=False)


def step_dual() -> DualActivation:
    """The dual of the step, 1 for positive and 0 for negative numbers. Its V' is 0, as `sign_dual`'s.

    >>> step_dual().value(2.0, 2.0, 0.0).item()
    0.25
    """
    both = functools.partial(_of_angle, 0.5, -1 / (2 * jnp.pi))
    return DualActivation("step", _step, both, lambda q: jnp.full_like(q, 0.5), smooth=False)


def _rectify(a: float, b: float, x: Array) -> Array:
    return a * jnp.minimum(x, 0) + b * jnp.maximum(x, 0)


def _step(x: Array) -> Array:
    return jnp.heaviside(x, jnp.full((), 0.5, x.dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _rectified(a: float, b: float, q1: Array, q2: Array, k: Array) -> tuple[Array, Array]:
    share, sine = (a - b) ** 2 / (2 * jnp.pi), _sine(q1, q2, k)
    slope = (a**2 + b**2) / 2 - share * fast_arctan2(sine, k)
    return share * sine + slope * k, slope


@_rectified.defjvp
def _rectified_jvp(a, b, primals, tangents):
    """What is singular at c = 1 cancels: dV = V' dk + (a - b)^2 / (4 pi) (q1 q2)^(1/2) sin(theta) (dq1/q1 + dq2/q2)."""
    value, slope = _rectified(a, b, *primals)
    share, sine = (a - b) ** 2 / (2 * jnp.pi), _sine(*primals)
    value_dot = slope * tangents[2] + share / 2 * sine * _relative(primals, tangents)
    return (value, slope), (value_dot, -share * _angle_dot(primals, tangents, sine))


def _of_angle(constant: float, factor: float, q1: Array, q2: Array, k: Array) -> tuple[Array, Array]:
    value = constant + factor * _angle(q1, q2, k)
    return value, jnp.zeros_like(value)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _half_moment(degree: int, q1: Array, q2: Array, k: Array) -> Array:
    """V_n; its terms are polynomials in k and p = q1 q2, without roots or quotients."""
    if degree == 0:
        return 0.5 - _angle(q1, q2, k) / (2 * jnp.pi)
    p, (near, far) = q1 * q2, _moment_terms(degree)
    homogeneous = lambda row: sum(float(b) * k**j * p ** ((len(row) - 1 - j) // 2) for j, b in enumerate(row) if b)
    sine = _sine(q1, q2, k)
    return (sine * homogeneous(near) + fast_arctan2(sine, -k) * homogeneous(far)) / (2 * jnp.pi)


@_half_moment.defjvp
def _half_moment_jvp(degree, primals, tangents):
    """V is homogeneous: q1 dV/dq1 = q2 dV/dq2 = (n V - k V') / 2."""
    value = _half_moment(degree, *primals)
    if degree == 0:
        return value, -_angle_dot(primals, tangents, _sine(*primals)) / (2 * jnp.pi)
    slope = degree**2 * _half_moment(degree - 1, *primals)
    relative = _relative(primals, tangents) / 2
    return value, slope * tangents[2] + (degree * value - primals[2] * slope) * relative


def _moment_terms(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of A_n and B_n, constants first."""
    near, far = Polynomial([0]), Polynomial([1])
    c, square = Polynomial([0, 1]), Polynomial([1, 0, -1])
    for n in range(degree):
        near, far = 2 * n * c * near + square * near.deriv() + far, (2 * n + 1) * c * far + square * far.deriv()
        near, far = near.cutdeg(n), far.cutdeg(n + 1)
    return near.coef, far.coef


@jax.custom_jvp
def _angle(q1: Array, q2: Array, k: Array) -> Array:
    return fast_arctan2(_sine(q1, q2, k), k)


@_angle.defjvp
def _angle_jvp(primals, tangents):
    return _angle(*primals), _angle_dot(primals, tangents, _sine(*primals))


def _sine(q1: Array, q2: Array, k: Array) -> Array:
    """(q1 q2 - k^2)^(1/2), exactly 0 at q1 = q2 = k; a power of two keeps the products from overflowing."""
    largest = jnp.maximum(jnp.max(q1, initial=0), jnp.max(q2, initial=0))
    scale = jnp.ldexp(jnp.ones((), k.dtype), -jax.lax.stop_gradient(jnp.frexp(largest)[1]))
    q1, q2, k = (jax.lax.stop_gradient(scale) * a for a in (q1, q2, k))
    return safe_sqrt((q1 - k) * (q2 + k) - k * (q1 - q2)) / scale


def _angle_dot(primals: tuple, tangents: tuple, sine: Array) -> Array:
    bend = jnp.where(sine > 0, 1 / jnp.where(sine > 0, sine, 1), 0)
    return bend * (primals[2] / 2 * _relative(primals, tangents) - tangents[2])


def _relative(primals: tuple, tangents: tuple) -> Array:
    """dq1 / q1 + dq2 / q2, without variances that are 0."""
    ratio = lambda q, dot: jnp.where(q > 0, dot / jnp.where(q > 0, q, 1), 0)
    return ratio(primals[0], tangents[0]) + ratio(primals[1], tangents[1])
