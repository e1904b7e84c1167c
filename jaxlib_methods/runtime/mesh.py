"""Device meshes and what is placed on them: rows split over an axis, everything else on every device.

Meshes are always Auto: functions see global arrays and the compiler places the communication. In a job of several
processes call `jax.distributed.initialize()` before anything else; each process then passes the same host arrays and
keeps the rows of its own devices.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require, require_choice, require_size
from jaxlib_methods.numerics.padding import pad_rows

__all__ = ["axis_key", "make_mesh", "pad_and_shard_rows", "replicate", "shard_rows", "to_host"]

Tree = TypeVar("Tree")


def make_mesh(shape: str | Mapping[str, int]) -> Mesh:
    """Arranges the first devices in a grid with named axes, all of type Auto.

    Args:
      shape: axis names and sizes in order, `"data=4,model=2"` or `{"data": 4, "model": 2}`.

    Returns:
      A mesh over the first `prod(sizes)` devices of the job.

    Raises:
      ValueError: if the text is not of that form, a size is below 1, or there are too few devices.

    >>> make_mesh("data=1,model=1").axis_names
    ('data', 'model')
    """
    axes = _parse(shape) if isinstance(shape, str) else dict(shape)
    require(bool(axes), "mesh", repr(shape), "at least one axis such as 'data=4'")
    for name, size in axes.items():
        require_size(f"mesh axis {name!r}", size)
    needed, devices = math.prod(axes.values()), jax.devices()
    if needed > len(devices):
        raise ValueError(
            f"mesh {axes} needs {needed} devices, available: {len(devices)} ({devices[0].platform}); "
            f"to simulate them on a CPU set JAX_PLATFORMS=cpu and JAX_NUM_CPU_DEVICES={needed} before starting Python"
        )
    auto = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=auto, devices=devices[:needed])


def shard_rows(tree: Tree, mesh: Mesh, axis: str = "data") -> Tree:
    """Splits the leading axis of every array over a mesh axis; the other mesh axes hold copies.

    Args:
      tree: pytree of host or device arrays with leading sizes that the axis divides.
      mesh: the mesh.
      axis: name of the mesh axis.

    Raises:
      ValueError: if the mesh lacks the axis or a leading size does not divide; `pad_and_shard_rows` takes any size.

    >>> shard_rows(np.ones((4, 3)), make_mesh("data=1")).sharding.spec == P("data")
    True
    """
    require_choice("axis", axis, mesh.axis_names)
    size = mesh.shape[axis]
    for leaf in jax.tree.leaves(tree):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] % size:
            raise ValueError(f"every leading size must divide by {axis}={size}, got an array of shape {np.shape(leaf)}")
    return _place(tree, NamedSharding(mesh, P(axis)))


def pad_and_shard_rows(x: Any, mesh: Mesh, axis: str = "data") -> tuple[Array, Float[Array, " m"]]:
    """Appends zero rows to one array until its leading size divides, then splits it; the mask is 1 on real rows.

    Args:
      x: array with a leading axis of rows.
      mesh: the mesh.
      axis: name of the mesh axis.

    Raises:
      ValueError: if the mesh lacks the axis.

    >>> x, mask = pad_and_shard_rows(np.ones((5, 3)), make_mesh("data=1"))
    >>> x.shape, float(mask.sum())
    ((5, 3), 5.0)
    """
    require_choice("axis", axis, mesh.axis_names)
    return shard_rows(pad_rows(jnp.asarray(x), mesh.shape[axis]), mesh, axis)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Puts a copy of every array on every device of the mesh.

    >>> replicate({"w": np.ones(3)}, make_mesh("data=1"))["w"].sharding.is_fully_replicated
    True
    """
    return _place(tree, NamedSharding(mesh, P()))


def to_host(tree: Tree) -> Tree:
    """Returns every array as a whole numpy array, also where its rows live in several processes.

    All processes of a job must call it together. What is no array stays as it is.

    >>> to_host(shard_rows(np.arange(3.0), make_mesh("data=1")))
    array([0., 1., 2.], dtype=float32)
    """

    def whole(x):
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            return multihost_utils.process_allgather(x, tiled=True)
        return jax.device_get(x)

    return jax.tree.map(whole, tree)


def axis_key(key: Key[Array, ""], axis: str) -> Key[Array, ""]:
    """Inside `jax.shard_map`, derives a key for each shard of a mesh axis: `fold_in(key, index of the shard)`.

    >>> draw = lambda key: jax.random.normal(axis_key(key, "data"), (4,))
    >>> jax.shard_map(draw, mesh=make_mesh("data=1"), in_specs=P(), out_specs=P("data"))(jax.random.key(0)).shape
    (4,)
    """
    return jax.random.fold_in(key, jax.lax.axis_index(axis))


def _parse(text):
    axes = {}
    for part in text.split(","):
        name, _, size = (word.strip() for word in part.partition("="))
        if not name.isidentifier() or not size.isdecimal() or name in axes:
            raise ValueError(f"mesh must look like 'data=4,model=2' with each name once, got {text!r}")
        axes[name] = int(size)
    return axes


def _place(tree, sharding):
    def put(x):
        if sharding.is_fully_addressable or not getattr(x, "is_fully_addressable", True):
            return jax.device_put(x, sharding)
        shape = np.shape(x)
        if isinstance(x, jax.Array):
            return jax.make_array_from_callback(shape, sharding, lambda index: x[index])
        host = np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))
        return jax.make_array_from_callback(shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)
