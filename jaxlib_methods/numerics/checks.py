"""Checks at the public border: those of arguments name the argument, what was given and what is needed.

Shapes, dtypes and Python numbers are checked always. Values of arrays are checked only where they are known
(outside `jit`, `vmap` and `grad`); inside a transformation they pass unseen.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

__all__ = [
    "has_converged",
    "require",
    "require_array",
    "require_choice",
    "require_finite",
    "require_known",
    "require_nonnegative",
    "require_positive",
    "require_size",
]


def require(condition: bool | np.bool_, name: str, given: Any, needed: str) -> None:
    """Raises ValueError `name must be needed, got given` unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} must be {needed}, got {given}")


def require_array(name: str, value: Any, shape: tuple[int | None, ...]) -> None:
    """Checks that `value` is a real floating array whose shape matches; None stands for any size.

    Raises:
      TypeError: if the dtype is not a real floating type.
      ValueError: if the rank or a size differs.
    """
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} must have a floating dtype, got {dtype}")
    given = np.shape(value)
    fits = len(given) == len(shape) and all(n is None or n == m for n, m in zip(shape, given, strict=True))
    expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    require(fits, name, f"shape {given}", f"an array of shape {expected}")


def require_size(name: str, value: int, minimum: int = 1, maximum: int | None = None) -> None:
    """Checks that a Python integer lies in [minimum, maximum]."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    inside = whole and value >= minimum and (maximum is None or value <= maximum)
    bounds = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
    require(inside, name, repr(value), f"an integer, {bounds}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that an option name is one of the choices."""
    require(value in choices, name, repr(value), "one of " + ", ".join(map(repr, choices)))


def require_positive(name: str, value: Any) -> None:
    """Checks that every entry of a known value is finite and positive."""
    require_known(name, value, lambda v: np.isfinite(v) & (v > 0), "positive and finite")


def require_nonnegative(name: str, value: Any) -> None:
    """Checks that every entry of a known value is finite and not negative."""
    require_known(name, value, lambda v: np.isfinite(v) & (v >= 0), "nonnegative and finite")


def require_finite(name: str, value: Any) -> None:
    """Checks that every entry of a known value is finite."""
    require_known(name, value, np.isfinite, "finite, without NaN or infinity")


def require_known(name: str, value: Any, holds: Callable[[np.ndarray], np.ndarray], needed: str) -> None:
    """Checks every entry of a known value by `holds`; raises ValueError with the first that fails."""
    if isinstance(value, Tracer) or not getattr(value, "is_fully_addressable", True):
        return
    value = np.asarray(value)
    wrong = value[~holds(value)]
    if wrong.size:
        raise ValueError(f"{name} must be {needed}, got {wrong.flat[0]}")


def has_converged(residual: Float[Array, " r"], tolerance: float, remedy: str) -> Bool[Array, ""]:
    """Whether all residuals are within twice the tolerance; a RuntimeWarning gives the remedy if known that not.

    Its place is that of the caller's caller.
    """
    converged = jnp.max(residual, initial=0) <= 2 * tolerance
    if not isinstance(converged, Tracer) and not converged:
        worst = f"conjugate gradients stopped at a relative residual of {float(residual.max()):.1e}"
        warnings.warn(f"{worst}, wanted {tolerance:.1e}: {remedy}", RuntimeWarning, stacklevel=3)
    return converged
