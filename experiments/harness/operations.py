"""How much arithmetic a function does, counted from its trace: the same on every machine, however busy."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

__all__ = ["count_operations"]

MOVES = {
    "broadcast_in_dim",
    "concatenate",
    "convert_element_type",
    "copy",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "iota",
    "pad",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "transpose",
}


def count_operations(function: Callable, *args) -> int:
    """2 m k n a matrix product, one an entry of other results, none for moving numbers; over all turns of loops.

    Raises:
      ValueError: if a loop's length or a branch depends on values.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name in ("while", "cond"):
            raise ValueError(f"{name} depends on values: its operations cannot be counted from the trace")
        inner = [p for p in params.values() if isinstance(p, Jaxpr | ClosedJaxpr)]
        size = sum(int(np.prod(out.aval.shape)) for out in equation.outvars)
        if inner:
            bodies = (_count(p.jaxpr if isinstance(p, ClosedJaxpr) else p) for p in inner)
            total += params.get("length", 1) * sum(bodies)
        elif name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            total += 2 * size * int(np.prod([equation.invars[0].aval.shape[i] for i in contracted]))
        elif name not in MOVES:
            total += size
    return total
