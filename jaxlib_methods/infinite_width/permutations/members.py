"""Predictions of ensemble members by their numbers: networks that are drawn and trained, or draws of their limit.

A member depends on the key and on its number alone, so that ensembles grow member by member, in any chunks and on any
devices.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Int, Key, Shaped

from jaxlib_methods.infinite_width.permutations.descent import descend, require_descent
from jaxlib_methods.infinite_width.permutations.network import draw_units, outputs, scales, unit_length
from jaxlib_methods.infinite_width.permutations.prediction import permutation_covariance, permutation_prediction
from jaxlib_methods.numerics.checks import require, require_choice, require_size
from jaxlib_methods.numerics.padding import pad_rows

__all__ = ["limit_predictions", "trained_predictions"]


def trained_predictions(
    key: Key[Array, ""],
    members: Int[Array, " c"],
    permutation: Int[Array, " k"],
    x: Shaped[Array, "t k"],
    *,
    width: int,
    learning_rate: ArrayLike,
    steps: int,
    parametrization: str = "ntk",
    weight_std: ArrayLike = 1.0,
    block: int = 256,
    dtype: jax.typing.DTypeLike = jnp.float32,
    mesh: Mesh | None = None,
    axis: str = "ensemble",
    width_axis: str | None = None,
) -> Float[Array, "c t k"]:
    """Draws and trains networks by gradient descent on the basis vectors, and applies them to binary inputs.

    Args:
      key: of the ensemble.
      members: numbers of the members, which are trained at once.
      permutation: what is to be learned: e_i -> e_pi(i).
      x: inputs, divided by their length here.
      width: hidden units n.
      learning_rate: on |f - y|^2 / 2, see `descent_plan`.
      steps: number of steps.
      parametrization: "ntk" or "standard".
      weight_std: s.
      block: inputs whose hidden units are held at once.
      dtype: of weights and outputs.
      mesh: devices; members are split over `axis` (any number: padded), and so is the result.
      axis: mesh axis of the members.
      width_axis: second mesh axis, over which hidden units are split (any width: padded).

    Raises:
      ValueError: as `permutation_network_train`, or if a size is below 1 or a mesh axis is unknown.

    Cost: 6 n k^2 operations a member and step. Memory: O(c n (4 k + block) + c t k) numbers over all devices. Along
    `width_axis` k^2 numbers a member cross devices in a step, and t k at the end; along `axis` nothing does.

    >>> options = dict(width=50, learning_rate=0.5, steps=5)
    >>> x = jnp.eye(3)
    >>> trained_predictions(jax.random.key(0), jnp.arange(4), jnp.array([2, 0, 1]), x, **options).shape
    (4, 3, 3)
    """
    k = jnp.shape(x)[-1]
    require_size("width", width)
    require_size("block", block)
    require(jnp.ndim(x) == 2, "x", f"shape {jnp.shape(x)}", "rows of inputs")
    require_descent(permutation, learning_rate, steps, k, width, parametrization, weight_std)
    deviations, factors = scales(parametrization, k, width, weight_std)
    x = unit_length(x, dtype)
    split = 1
    if mesh is not None:
        require_choice("axis", axis, mesh.axis_names)
        require_choice("width_axis", width_axis or axis, mesh.axis_names)
        split = 1 if width_axis is None else mesh.shape[width_axis]
    share = -(-width // split)
    across = (lambda a: a) if split == 1 else functools.partial(jax.lax.psum, axis_name=width_axis)

    def local(members, permutation, x, key, learning_rate, deviations, factors):
        units = jnp.arange(share)
        if split > 1:
            units += share * jax.lax.axis_index(width_axis)

        def one(member):
            params = draw_units(jax.random.fold_in(key, member), units, k, deviations, dtype)
            params = jax.tree.map(lambda rows: jnp.where((units < width)[None], rows, 0), params)
            params = descend(params, permutation, learning_rate, steps, factors, across)
            return jax.lax.map(lambda row: outputs(params, row, factors), x, batch_size=block)

        return across(jax.vmap(one)(members))

    shared = permutation, x, key, learning_rate, deviations, factors
    if mesh is None:
        return local(members, *shared)
    specs = P(axis), *(P() for _ in shared)
    padded = pad_rows(members, mesh.shape[axis])[0]
    result = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(axis))(
        padded, *jax.tree.map(jnp.asarray, shared)
    )
    return result if len(result) == len(members) else result[: len(members)]


def limit_predictions(
    key: Key[Array, ""],
    members: Int[Array, " c"],
    permutation: Int[Array, " k"],
    x: Shaped[Array, "t k"],
    *,
    kernel: str = "ntk",
    t: ArrayLike | None = None,
    weight_std: ArrayLike = 1.0,
) -> Float[Array, "c t k"]:
    """Draws members of infinite width: Gaussians with the mean and covariance of trained networks.

    Args:
      key: of the ensemble.
      members: numbers of the members.
      permutation: what is learned: e_i -> e_pi(i).
      x: binary inputs, none of zeros alone.
      kernel: as in `permutation_statistics`.
      t: learning rate times training time of gradient flow; None for infinitely long.
      weight_std: s.

    Raises:
      ValueError: as `permutation_prediction`.

    Cost: an eigendecomposition, t^3, and t^2 k a member.

    >>> limit_predictions(jax.random.key(0), jnp.arange(4), jnp.array([2, 0, 1]), jnp.eye(3))[3].tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    options = {"kernel": kernel, "t": t, "weight_std": weight_std}
    mean, variance = permutation_prediction(permutation, x, **options)
    values, vectors = jnp.linalg.eigh(permutation_covariance(x, **options))
    root = jnp.einsum("si,i,ti->st", vectors, jnp.sqrt(jnp.maximum(values, 0)), vectors, precision="highest")
    root = jnp.where(variance[:, None] == 0, 0, root)  # certain outputs without the rounding of eigenvectors
    draw = lambda member: jax.random.normal(jax.random.fold_in(key, member), mean.shape, mean.dtype)
    noise = jax.vmap(draw)(jnp.asarray(members))
    return mean[None] + jnp.einsum("st,ctk->csk", root, noise, precision="highest")
