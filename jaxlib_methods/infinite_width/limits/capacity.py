"""What a limit was allotted when it was made, against what its training needs."""

from typing import Any

from jax.core import Tracer

from jaxlib_methods.numerics.checks import require

__all__ = ["require_capacity"]


def require_capacity(capacity: int, needed: Any) -> None:
    """Raises ValueError if more samples are needed than were allotted; passes where that is not known, under `jit`."""
    if not isinstance(needed, Tracer) and getattr(needed, "is_fully_addressable", True):
        require(int(needed) <= capacity, "capacity", capacity, f"at least {int(needed)}, the samples of all steps")
