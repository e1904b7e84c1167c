"""The parametrizations that have names, as exponents of the width, and the shifts that change no trained network.

    name            a                              b                    c
    sp              0                              0, then 1/2          0     as networks are usually made
    sp_scaled_rate  0                              0, then 1/2          1     the same with rate eta / n
    ntp             0, then 1/2                    0                    0     of the neural tangent kernel
    mfp             0, 1                           0                   -1     mean field: one hidden layer
    mup             -1/2, 0 ..., 0, 1/2            1/2                  0     maximal update

    (a_l, b_l, c_l) -> (a_l + theta_l, b_l - theta_l, c_l - 2 theta_l)  leaves every f_t and x^l_t as they are.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, table 1 and eq. 5.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational, Real
from typing import NamedTuple

from jaxlib_methods.numerics.checks import require, require_choice, require_size

__all__ = ["AbcParametrization", "Exponent", "abc_parametrization", "abc_shift", "check_abc"]

Exponent = int | float | Fraction

HALF = Fraction(1, 2)
NAMED = {  # a and b of the first layer, of further hidden layers, of the readout; c
    "sp": ((0, 0, 0), (0, HALF, HALF), 0),
    "sp_scaled_rate": ((0, 0, 0), (0, HALF, HALF), 1),
    "ntp": ((0, HALF, HALF), (0, 0, 0), 0),
    "mfp": ((0, HALF, 1), (0, 0, 0), -1),
    "mup": ((-HALF, 0, HALF), (HALF, HALF, HALF), 0),
}


class AbcParametrization(NamedTuple):
    """Exponents of multipliers, of standard deviations and of the rate or rates: `abc_classify(*parametrization)`."""

    a: tuple[Exponent, ...]
    b: tuple[Exponent, ...]
    c: Exponent | tuple[Exponent, ...]


def abc_parametrization(name: str, *, depth: int) -> AbcParametrization:
    """The exponents of a parametrization by name.

    Args:
      name: "sp", "sp_scaled_rate", "ntp", "mfp" or "mup".
      depth: L, hidden layers.

    Raises:
      ValueError: if the name is unknown, the depth below 1, or above 1 for "mfp", which "mup" continues.

    >>> abc_parametrization("mfp", depth=1)
    AbcParametrization(a=(0, 1), b=(0, 0), c=-1)
    """
    require_choice("name", name, tuple(NAMED))
    require_size("depth", depth)
    require(name != "mfp" or depth == 1, "depth", depth, "1 for 'mfp'; 'mup' is the same there, and goes on")
    layers = lambda values: (values[0], *[values[1]] * (depth - 1), values[2])
    a, b, c = NAMED[name]
    return AbcParametrization(layers(a), layers(b), c)


def abc_shift(
    a: Sequence[Exponent],
    b: Sequence[Exponent],
    c: Exponent | Sequence[Exponent],
    theta: Exponent | Sequence[Exponent],
) -> AbcParametrization:
    """Other exponents of the same trained network: a + theta, b - theta, c - 2 theta.

    Args:
      a: of the multipliers, layer by layer.
      b: of the standard deviations at the start.
      c: of the learning rate, one for all or one a layer.
      theta: the shift, one for all or one a layer; the result's c is one a layer where either is.

    Raises:
      TypeError, ValueError: as `abc_classify`.

    >>> abc_shift((0, 1), (0, 0), -1, Fraction(-1, 2)) == abc_parametrization("mup", depth=1)
    True
    """
    a, b, rates = check_abc(a, b, c)
    shifts = per_layer("theta", theta, len(a))
    moved = tuple(rate - 2 * shift for rate, shift in zip(rates, shifts, strict=True))
    one = isinstance(c, Real) and isinstance(theta, Real)
    return AbcParametrization(
        tuple(value + shift for value, shift in zip(a, shifts, strict=True)),
        tuple(value - shift for value, shift in zip(b, shifts, strict=True)),
        moved[0] if one else moved,
    )


def check_abc(
    a: Sequence[Exponent], b: Sequence[Exponent], c: Exponent | Sequence[Exponent]
) -> tuple[tuple[Exponent, ...], tuple[Exponent, ...], tuple[Exponent, ...]]:
    """The exponents layer by layer, or an error that names what is wrong."""
    require(len(a) >= 2, "a", tuple(a), "of at least two layers, one hidden and the readout")
    return per_layer("a", tuple(a), len(a)), per_layer("b", tuple(b), len(a)), per_layer("c", c, len(a))


def per_layer(name: str, values: Exponent | Sequence[Exponent], layers: int) -> tuple[Exponent, ...]:
    """One exponent a layer, as an integer, fraction or float."""
    several = list(values) if isinstance(values, Sequence) else [values] * layers
    require(len(several) == layers, name, f"{len(several)} exponents", f"one exponent for each of {layers} layers")
    return tuple(_exponent(name, value) for value in several)


def _exponent(name: str, value: Exponent) -> Exponent:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must hold real numbers, got {value!r}")
    if isinstance(value, Rational):
        return Fraction(value) if isinstance(value, Fraction) else int(value)
    require(math.isfinite(value), name, value, "finite")
    return float(value)
