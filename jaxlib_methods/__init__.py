"""Thirty research papers as pure JAX functions.

Each method group is a subpackage that loads when it is first named: `jaxlib_methods.diffusion`, ...
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlib_methods import (
        attention,
        diffusion,
        generalization,
        infinite_width,
        nn,
        numerics,
        random_features,
        runtime,
    )

__version__ = "0.1.0"
__all__ = [
    "attention",
    "diffusion",
    "generalization",
    "infinite_width",
    "nn",
    "numerics",
    "random_features",
    "runtime",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
