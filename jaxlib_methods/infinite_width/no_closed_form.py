"""Layers whose infinitely wide kernel has no closed form, and kernels by averaging over finite networks, for any."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxlib_methods.infinite_width.empirical_ntk import empirical_ntk
from jaxlib_methods.infinite_width.kernel_state import KernelState, Needs, Side
from jaxlib_methods.infinite_width.layer import Layer
from jaxlib_methods.infinite_width.spatial import window
from jaxlib_methods.numerics.checks import require_array, require_choice, require_positive, require_size

__all__ = ["SampledKernel", "batch_norm", "kernel_from_samples", "max_pool"]


class SampledKernel(NamedTuple):
    """A mean over random networks and its standard error, entry by entry."""

    mean: Float[Array, "n m"]
    error: Float[Array, "n m"]


def kernel_from_samples(
    key: Key[Array, ""],
    init: Callable[..., tuple[Any, Any]],
    apply: Callable[..., Array],
    x1: Float[Array, "n ..."],
    x2: Float[Array, "m ..."] | None = None,
    *,
    samples: int,
    get: str = "ntk",
    method: str = "auto",
) -> SampledKernel:
    """The NNGP kernel or NTK of a random network of finite width, averaged over draws and outputs.

    The mean differs from the infinite width's by O(1 / width), its error falls as 1 / (samples width)^(1/2).

    Args:
      key: draws the networks.
      init: (key, shape of one input) to (parameters, anything); `Layer.init` is one.
      apply: (parameters, inputs) to outputs (n, o), o as large as may be for the NNGP kernel.
      x1: inputs.
      x2: other inputs; None stands for `x1`.
      samples: draws, at least 2.
      get: "ntk" or "nngp".
      method: as in `empirical_ntk`.

    Raises:
      TypeError: if the inputs are not floating.
      ValueError: if there are fewer than two samples or a name is unknown.

    Memory: one network's. Cost: `samples` empirical kernels.

    >>> from jaxlib_methods.infinite_width import dense
    >>> net = dense(64)
    >>> kernel_from_samples(jax.random.key(0), net.init, net.apply, jnp.ones((2, 3)), samples=4).mean.shape
    (2, 2)
    """
    require_size("samples", samples, 2)
    require_choice("get", get, ("ntk", "nngp"))
    require_array("x1", x1, x1.shape)

    def one(key):
        params = init(key, x1.shape[1:])[0]
        if get == "ntk":
            return empirical_ntk(apply, params, x1, x2, method=method)
        left = apply(params, x1).reshape(len(x1), -1)
        right = left if x2 is None else apply(params, x2).reshape(len(x2), -1)
        return jnp.einsum("ao,bo->ab", left, right, precision="highest") / left.shape[1]

    def add(carry, item):
        """Welford's running mean and sum of squares."""
        mean, squares = carry
        i, key = item
        value = one(key)
        change = value - mean
        mean = mean + change / (i + 1)
        return (mean, squares + change * (value - mean)), None

    keys = jax.random.split(key, samples)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(one, keys[0]))
    (mean, squares), _ = jax.lax.scan(add, (zeros, zeros), (jnp.arange(samples), keys))
    return SampledKernel(mean, jnp.sqrt(squares / (samples * (samples - 1))))


def max_pool(window_shape: Sequence[int], *, strides: Sequence[int] | None = None, padding: str = "VALID") -> Layer:
    """The maximum over windows; `apply` works, the kernel refuses and names `kernel_from_samples`.

    Args:
      window_shape: size along each spatial axis.
      strides: steps; the window's sizes if None.
      padding: "VALID" or "SAME" (ignored positions).

    Raises:
      ValueError: if a size is below 1 or the padding is unknown, and whenever a kernel is asked for.

    >>> max_pool((2,)).apply((), jnp.array([[[1.0], [3.0]]])).ravel().tolist()
    [3.0]
    """
    require_choice("padding", padding, ("VALID", "SAME"))
    by = window("window_shape", window_shape, window_shape if strides is None else strides, padding)

    def init(key, shape, dtype=jnp.float32):
        return (), (*by.shape(shape[:-1]), shape[-1])

    def apply(params, x, *, key=None, taps=None, side=None):
        present = _present(x, side)
        x = jnp.where(present, x, jnp.finfo(x.dtype).min)
        sizes, strides = (1, *by.sizes, 1), (1, *by.strides, 1)
        return jax.lax.reduce_window(x, np.array(-np.inf, x.dtype), jax.lax.max, sizes, strides, padding)

    return Layer(init, apply, refuse("max_pool"), refuse("max_pool"), by.any_present)


def batch_norm(*, eps: float = 1e-5) -> Layer:
    """Normalisation of each channel over batch and positions; the kernel refuses as that of `max_pool`.

    Args:
      eps: added to variances.

    Raises:
      ValueError: if `eps` is not positive, and whenever a kernel is asked for.

    >>> batch_norm(eps=1e-9).apply((), jnp.array([[1.0], [3.0]])).ravel().tolist()
    [-1.0, 1.0]
    """
    require_positive("eps", eps)

    def apply(params, x, *, key=None, taps=None, side=None):
        axes = tuple(range(x.ndim - 1))
        mean = lambda a: jnp.mean(a, axes, keepdims=True, where=_present(x, side))
        centred = x - mean(x)
        return centred * jax.lax.rsqrt(mean(centred**2) + eps)

    return Layer(lambda key, shape, dtype=jnp.float32: ((), tuple(shape)), apply, *[refuse("batch_norm")] * 2)


def refuse(name: str) -> Callable[..., Any]:
    """The kernel and the needs of a layer without a closed form."""

    def fail(*_: KernelState | Needs) -> NoReturn:
        raise ValueError(
            f"network must be of layers whose kernel has a closed form, got {name}: "
            "average over finite networks by kernel_from_samples"
        )

    return fail


def _present(x: Array, side: Side | None) -> Array:
    return jnp.ones((), bool) if side is None or side.mask is None else side.mask[..., None]
