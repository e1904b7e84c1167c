"""The one door between flax.nnx modules and functions of a parameter pytree."""

from collections.abc import Callable
from typing import Any

from jaxtyping import PyTree

__all__ = ["nnx_functional"]


def nnx_functional(module: Any) -> tuple[Callable[..., tuple[Any, PyTree]], PyTree, PyTree]:
    """Splits a flax.nnx module into a pure function and two pytrees of arrays.

    Args:
      module: any `nnx.Module`; it is left as it was, now and whenever the function is called.

    Returns:
      `apply`, `params` and `rest`, where `apply(params, rest, *args, **kwargs)` gives the module's output and the new
      `rest` (batch statistics, dropout counters). Parameters and rest are nested dictionaries.

    Raises:
      ImportError: if flax is not installed (`pip install jaxlib-methods[nnx]`).

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> apply, params, rest = nnx_functional(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    >>> apply(params, rest, jnp.ones((5, 2)))[0].shape
    (5, 3)
    """
    from flax import nnx

    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def apply(params: PyTree, rest: PyTree, *args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        merged = nnx.merge(graph, params, rest, copy=True)
        output = merged(*args, **kwargs)
        return output, nnx.to_pure_dict(nnx.state(merged, nnx.Not(nnx.Param)))

    return apply, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
