"""Deep linear networks of infinite width in the maximal update parametrization: a finite network that grows.

    h^1 = U xi,  h^l = W^l h^(l-1),  f = V^T h^L / n,        U, V ~ N(0, 1),  W^l ~ N(0, 1 / n) at the start,

    V <- V - eta h^L chi^T,   W^l <- W^l - eta dh^l h^(l-1)^T / n,   U <- U - eta dh^1 xi^T,    chi = dLoss/df,

with dh^L = V chi, dh^(l-1) = W^l^T dh^l, summed over the batch. As n grows <x, y> / n becomes the inner product of a
space H_l with one orthonormal direction for each independent Gaussian vector, and the first W^l

    W = S + T^T,        S x = sum_i s_i <X_i, x>,        T y = sum_j t_j <Y_j, y>,

where s_i in H_l and t_j in H_(l-1) are fresh directions: W met a new direction X_i of its inputs, or W^T a new Y_j. So
S and T are matrices of coordinates that get one row a product, and T^T is the Zdot term of Tensor Programs. What is new
in a single x and not yet met does not reach the output: at any time f is V^T W^L ... W^2 U xi, with the trained parts.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, section 6 and appendix; the form is derived.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = [
    "DeepLinearLimit",
    "LimitMatrix",
    "deep_linear_limit_apply",
    "deep_linear_limit_init",
    "deep_linear_limit_step",
]


class LimitMatrix(NamedTuple):
    """One hidden matrix between spaces of D dimensions.

    Attributes:
      forward: S, inputs' directions to fresh ones.
      backward: T, the same of the transpose.
      trained: what training has added.
    """

    forward: Float[Array, "D D"]
    backward: Float[Array, "D D"]
    trained: Float[Array, "D D"]


class DeepLinearLimit(NamedTuple):
    """The network in coordinates of its spaces, and how many directions of each are in use.

    Attributes:
      first: U, one column an input.
      hidden: the matrices W^2 ... W^L.
      readout: V, one column an output.
      used: directions of H_1 ... H_L in use.
    """

    first: Float[Array, "D d"]
    hidden: tuple[LimitMatrix, ...]
    readout: Float[Array, "D k"]
    used: Int[Array, " L"]


def deep_linear_limit_init(
    *, inputs: int, outputs: int, depth: int, capacity: int, dtype: str = "float32"
) -> DeepLinearLimit:
    """The network at the start, where f = 0.

    Args:
      inputs: d.
      outputs: k.
      depth: L, hidden layers.
      capacity: samples of all steps together for which directions are kept; without effect at depth 1.
      dtype: of the state. Directions that are lost in rounding are dropped: in float32, below 1e-4 of a vector.

    Raises:
      ValueError: if a size is below 1.

    Memory: 3 (L - 1) D^2, D = d + k + capacity, or twice the capacity if L > 2; D = d + k if L = 1.

    >>> deep_linear_limit_init(inputs=2, outputs=1, depth=2, capacity=5).readout.shape
    (8, 1)
    """
    for name, size in (("inputs", inputs), ("outputs", outputs), ("depth", depth), ("capacity", capacity)):
        require_size(name, size)
    dim = inputs + outputs + capacity * min(depth - 1, 2)
    eye = jnp.eye(dim, dtype=dtype)
    start = inputs if depth == 1 else 0
    used = [0] * depth
    used[0] += inputs
    used[-1] += outputs
    return DeepLinearLimit(
        eye[:, :inputs],
        tuple(LimitMatrix(*[jnp.zeros_like(eye)] * 3) for _ in range(depth - 1)),
        eye[:, start : start + outputs],
        jnp.array(used, jnp.int32),
    )


def deep_linear_limit_apply(state: DeepLinearLimit, x: Float[Array, "b d"]) -> Float[Array, "b k"]:
    """The output of the network.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if its rows are not as wide as the first layer.

    Cost: 3 (L - 1) D^2 a row.

    >>> state = deep_linear_limit_init(inputs=2, outputs=1, depth=2, capacity=5)
    >>> deep_linear_limit_apply(state, jnp.ones((1, 2))).tolist()
    [[0.0]]
    """
    require_array("x", x, (None, state.first.shape[1]))
    h = x @ state.first.T
    for matrix in state.hidden:
        h = h @ (matrix.forward + matrix.trained).T + _zdot(matrix.backward, h.T).T
    return h @ state.readout


def deep_linear_limit_step(
    state: DeepLinearLimit,
    x: Float[Array, "b d"],
    cotangent: Callable[[Float[Array, "b k"]], Float[Array, "b k"]],
    eta: Float[ArrayLike, ""],
) -> tuple[DeepLinearLimit, Float[Array, "b k"]]:
    """One step of SGD on a batch, and the outputs before it.

    Args:
      state: of the network.
      x: inputs.
      cotangent: chi = dLoss/df from the outputs of the batch; f - y for the sum of squares / 2.
      eta: learning rate.

    Returns:
      The next state, and f. Where the state has no room for the directions of the batch, it turns NaN.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if rows are not as wide as the first layer, or chi has not the shape of f.

    Cost: O(L b D^2).

    >>> state = deep_linear_limit_init(inputs=1, outputs=1, depth=2, capacity=2)
    >>> state, f = deep_linear_limit_step(state, jnp.ones((1, 1)), lambda f: f - 1, 0.5)
    >>> round(float(deep_linear_limit_apply(state, jnp.ones((1, 1)))[0, 0]), 3)
    1.5
    """
    f = deep_linear_limit_apply(state, x)
    chi = cotangent(f)
    require(chi.shape == f.shape, "cotangent(f)", f"shape {chi.shape}", f"of shape {f.shape}, as f")
    eta = jnp.asarray(eta, f.dtype)

    def forward(hidden, xi):
        matrices, used = hidden
        used = [*used]
        h = [state.first @ xi]
        new = []
        for l, matrix in enumerate(matrices):
            rows, image, used[l + 1] = _product(matrix.forward, matrix.backward, h[-1], used[l + 1])
            new.append(matrix._replace(forward=rows))
            h.append(image + matrix.trained @ h[-1])
        return (tuple(new), tuple(used)), tuple(h)

    def backward(hidden, chi):
        matrices, used = hidden
        used, matrices = [*used], [*matrices]
        dh = [state.readout @ chi]
        for l in reversed(range(len(matrices))):
            matrix = matrices[l]
            rows, image, used[l] = _product(matrix.backward, matrix.forward, dh[0], used[l])
            matrices[l] = matrix._replace(backward=rows)
            dh.insert(0, image + matrix.trained.T @ dh[0])
        return (tuple(matrices), tuple(used)), tuple(dh)

    hidden, h = jax.lax.scan(forward, (state.hidden, tuple(state.used)), x)
    (matrices, used), dh = jax.lax.scan(backward, hidden, chi)
    used = jnp.stack(used)
    fits = jnp.all(used <= state.first.shape[0])
    eta = jnp.where(fits, eta, jnp.nan)
    return (
        DeepLinearLimit(
            state.first - eta * dh[0].T @ x,
            tuple(
                matrix._replace(trained=matrix.trained - eta * dh[l + 1].T @ h[l]) for l, matrix in enumerate(matrices)
            ),
            state.readout - eta * h[-1].T @ chi,
            used,
        ),
        f,
    )


def _product(rows: Array, transposed: Array, x: Array, used: Array) -> tuple[Array, Array, Array]:
    """The first matrix times x: its rows with the fresh direction, the image, and the directions in use."""
    rest = x - rows.T @ (rows @ x)
    rest = rest - rows.T @ (rows @ rest)
    square, scale = jnp.sum(rest**2), jnp.sum(x**2)
    is_new = square > (1000 * jnp.finfo(x.dtype).eps) ** 2 * scale
    norm = jnp.sqrt(jnp.where(is_new, square, 1))
    fresh = jnp.where(is_new, rest / norm, 0)
    written = rows.at[used].add(fresh, mode="drop")
    return written, written @ x + _zdot(transposed, x), used + is_new


def _zdot(transposed: Array, x: Array) -> Array:
    """What the products of the transpose, known already, say about the image of x."""
    return transposed.T @ x
