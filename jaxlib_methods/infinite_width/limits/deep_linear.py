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
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key, Shaped

from jaxlib_methods.infinite_width.limits.capacity import require_capacity
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = [
    "DeepLinearLimit",
    "LimitMatrix",
    "deep_linear_limit_apply",
    "deep_linear_limit_init",
    "deep_linear_limit_sample",
    "deep_linear_limit_step",
    "deep_linear_limit_train",
]

_dot = partial(jnp.matmul, precision="highest")


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
      ValueError: if its rows are not as wide as the first layer, or steps are known to have exceeded the capacity.

    Cost: 3 (L - 1) D^2 a row.

    >>> state = deep_linear_limit_init(inputs=2, outputs=1, depth=2, capacity=5)
    >>> deep_linear_limit_apply(state, jnp.ones((1, 2))).tolist()
    [[0.0]]
    """
    require_array("x", x, (None, state.first.shape[1]))
    _require_room(state)
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
      The next state, and f.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if rows are not as wide as the first layer, chi has not the shape of f, or the capacity is known to be
        exceeded. Where that is not known, under `jit`, the state turns NaN instead.

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
    new = DeepLinearLimit(
        state.first - eta * dh[0].T @ x,
        tuple(matrix._replace(trained=matrix.trained - eta * dh[l + 1].T @ h[l]) for l, matrix in enumerate(matrices)),
        state.readout - eta * h[-1].T @ chi,
        used,
    )
    _require_room(new)
    return new, f


def deep_linear_limit_train(
    state: DeepLinearLimit,
    x: Float[Array, "t b d"],
    y: Shaped[Array, "t b ..."],
    cotangent: Callable[[Float[Array, "b k"], Shaped[Array, "b ..."]], Float[Array, "b k"]],
    eta: Float[ArrayLike, ""],
) -> tuple[DeepLinearLimit, Float[Array, "t b k"]]:
    """Steps of SGD, one a batch, and the outputs before each; too small a capacity is refused beforehand.

    Args:
      state: of the network.
      x: inputs of t steps.
      y: targets.
      cotangent: chi = dLoss/df from the outputs and targets of a batch; f - y for the sum of squares / 2.
      eta: learning rate.

    Raises:
      TypeError: as `deep_linear_limit_step`.
      ValueError: as `deep_linear_limit_step`, and, under `jit` too, if the capacity is below t b at depth 2 or more.

    Cost: t steps.

    >>> state = deep_linear_limit_init(inputs=1, outputs=1, depth=2, capacity=3)
    >>> ones = jnp.ones((3, 1, 1))
    >>> state, f = deep_linear_limit_train(state, ones, ones, lambda f, y: f - y, 0.5)
    >>> [round(value, 3) for value in f.ravel().tolist()]
    [0.0, 1.5, 0.402]
    """
    require_array("x", x, (None, None, state.first.shape[1]))
    if state.hidden:
        require_capacity(_capacity(state), x.shape[0] * x.shape[1])
    step = lambda state, batch: deep_linear_limit_step(state, batch[0], lambda f: cotangent(f, batch[1]), eta)
    state, f = jax.lax.scan(step, state, (x, y))
    _require_room(state)
    return state, f


def deep_linear_limit_sample(key: Key[Array, ""], state: DeepLinearLimit, n: int) -> tuple[Float[Array, "_ _"], ...]:
    """Weights of width n that compute, and go on training, as the limit does but for terms of order n^(-1/2).

    Every direction of H_l becomes a Gaussian vector, a column of Omega_l (n, D), in U, V and

        W^l = G + Omega_l trained Omega_(l-1)^T / n,        G ~ N(0, 1 / n) given the images of what was met:

        G Omega_(l-1) S^T = Omega_l (S + T^T) S^T,          G^T Omega_l T^T = Omega_(l-1) (S^T + T) T^T.

    Args:
      key: draws Omega and G.
      state: of the limit, at the start or trained.
      n: width.

    Returns:
      w^1 = U^T / n^(1/2), w^l = W^l^T, w^(L+1) = V / n^(1/2): parameters of `abc_mlp` in mup, each (fan-in, fan-out),
      to be trained by SGD of the same rate.

    Raises:
      ValueError: if `n` is below 1, or below D at depth 2 or more, or steps are known to have exceeded the capacity.

    Cost: O(L n^2 D). Memory: (L - 1) n^2 + L n D.

    >>> state = deep_linear_limit_init(inputs=2, outputs=1, depth=2, capacity=5)
    >>> [w.shape for w in deep_linear_limit_sample(jax.random.key(0), state, 16)]
    [(2, 16), (16, 16), (16, 1)]
    """
    dim, dtype = len(state.first), state.first.dtype
    require_size("n", n, dim if state.hidden else 1)
    _require_room(state)
    key, draw = jax.random.split(key)
    omega = jax.random.normal(draw, (len(state.used), n, dim), dtype) / n**0.5

    def sample(key, matrix, before, after):
        noise = jax.random.normal(key, (n, n), dtype) / n**0.5
        start = matrix.forward + matrix.backward.T
        pulled = _dot(before, _dot(start.T, matrix.backward.T))
        image = _dot(after, _dot(start, matrix.forward.T))
        transposed = _conditioned(noise, _dot(after, matrix.backward.T), pulled)
        initial = _conditioned(transposed.T, _dot(before, matrix.forward.T), image)
        return (initial + _dot(_dot(after, matrix.trained), before.T)).T

    keys = jax.random.split(key, len(state.hidden))
    return (
        _dot(omega[0], state.first).T,
        *map(sample, keys, state.hidden, omega[:-1], omega[1:]),
        _dot(omega[-1], state.readout),
    )


def _conditioned(matrix: Array, x: Array, y: Array) -> Array:
    """A Gaussian matrix, given that it maps the columns of x to those of y; where those are zero, nothing is given."""
    gram = _dot(x.T, x)
    gram = gram + jnp.diag(jnp.diagonal(gram) == 0).astype(x.dtype)
    return matrix + _dot(y - _dot(matrix, x), jnp.linalg.solve(gram, x.T))


def _capacity(state: DeepLinearLimit) -> int:
    return (len(state.first) - state.first.shape[1] - state.readout.shape[1]) // min(len(state.hidden), 2)


def _require_room(state: DeepLinearLimit) -> None:
    """Refuses a state that is known to need more directions than it has."""
    if state.hidden:
        missing = jnp.max(state.used) - len(state.first)
        capacity = _capacity(state)
        require_capacity(capacity, capacity - (-missing) // min(len(state.hidden), 2))


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
