"""First-order MAML of the GP and NTK limits of one hidden layer, as gradient descent on a function.

The function is f = sum_i c_i K(z_i, .) with anchors z and coefficients c. A step of gradient descent appends the batch
with coefficients -rate dloss / df; inner steps append the support of a task, and what they append is dropped once the
query has been read. The norm by which the outer gradient g = sum_i chi_i K(x_i, .) is clipped is |g|^2 = chi^T K chi.

    s(x)^2 = s_w^2 |x|^2 + s_b^2,        q = (s_w^2 x.x' + s_b^2) / (s s'),
    relu      K_GP = s s' F00(q),                   K_NTK = K_GP + s_v^2 (x.x') F11(q),
    linear    K_GP = s_w^2 x.x' + s_b^2,            K_NTK = K_GP + s_v^2 (x.x'),

with F00 and F11 half the arc-cosine functions of degree 1 and 0. The hidden bias is not trained.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, section 8.2, and its code.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from jaxlib_methods.infinite_width.meta_learning.maml import Loss, Tasks, check_tasks
from jaxlib_methods.numerics.arc_cosine import arc_cosine
from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_known, require_size

__all__ = ["KernelMaml", "kernel_maml_init", "kernel_maml_predict", "kernel_maml_step", "one_hidden_layer_kernel"]

Kernel = Callable[[Array, Array], Array]


class KernelMaml(NamedTuple):
    """A function: anchors with their coefficients, and how many rows appended steps have used."""

    anchors: Float[Array, "k d"]
    coefficients: Float[Array, "k o"]
    used: Int[Array, ""]


def one_hidden_layer_kernel(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    sw: Float[ArrayLike, ""] = 1.0,
    sb: Float[ArrayLike, ""] = 1.0,
    sv: Float[ArrayLike, ""] = 1.0,
    *,
    kind: str,
    activation: str = "relu",
) -> Float[Array, "n m"]:
    """GP kernel or NTK of one hidden layer whose weights are not divided by the number of inputs.

    Args:
      x: rows.
      y: other rows.
      sw: s_w, standard deviation of hidden weights.
      sb: s_b, of hidden biases.
      sv: s_v, of output weights; plays no part in the GP kernel.
      kind: "gp" (the output layer trains) or "ntk" (hidden weights too).
      activation: "relu" or "linear".

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or a name is unknown.

    Cost: 2 n m d, and one or two arc cosines a pair. The derivative of the ReLU NTK is infinite at parallel inputs.

    >>> e = jnp.eye(2)
    >>> one_hidden_layer_kernel(e, e, sb=0.0, kind="ntk").round(4)
    Array([[1.    , 0.1592],
           [0.1592, 1.    ]], dtype=float32)
    """
    require_array("x", x, (None, None))
    require_array("y", y, (None, x.shape[1]))
    require_choice("kind", kind, ("gp", "ntk"))
    require_choice("activation", activation, ("relu", "linear"))
    w, b, v = (jnp.asarray(std, x.dtype) ** 2 for std in (sw, sb, sv))
    inner = jnp.einsum("nd,md->nm", x, y, precision="highest")
    first = w * inner + b
    if activation == "linear":
        return first if kind == "gp" else first + v * inner
    scale = [jnp.sqrt(w * jnp.sum(rows**2, 1) + b) for rows in (x, y)]
    both = scale[0][:, None] * scale[1][None]
    q = first / jnp.where(both > 0, both, 1)
    last = both * arc_cosine(q, degree=1) / 2
    return last if kind == "gp" else last + v * inner * arc_cosine(q, degree=0) / 2


def kernel_maml_init(capacity: int, d: int, o: int, *, dtype: str = "float32") -> KernelMaml:
    """The function 0, with room for anchors.

    Args:
      capacity: rows: all queries of all outer steps, or the distinct ones if steps name their slots.
      d: inputs.
      o: outputs.
      dtype: of the arrays.

    Raises:
      ValueError: if a size is below 1.

    >>> kernel_maml_init(10, 2, 3).coefficients.shape
    (10, 3)
    """
    for name, size in (("capacity", capacity), ("d", d), ("o", o)):
        require_size(name, size)
    return KernelMaml(jnp.zeros((capacity, d), dtype), jnp.zeros((capacity, o), dtype), jnp.zeros((), "int32"))


def kernel_maml_predict(
    kernel: Kernel,
    loss: Loss,
    state: KernelMaml,
    tasks: Tasks,
    *,
    inner_rate: Float[ArrayLike, ""],
    inner_steps: int = 1,
) -> Float[Array, "t q o"]:
    """Values on the query of each task after adaptation to its support.

    Args:
      kernel: `kernel(x, y)`, of rows.
      loss: `loss(outputs, y)`, a number.
      state: the function before adaptation.
      tasks: with inputs that are rows.
      inner_rate: eta.
      inner_steps: of gradient descent.

    Raises:
      ValueError: as `maml_predict`, or if inputs have another width than the anchors.

    Cost: one kernel of all examples with all anchors, then O(m^2 o) a task of m examples and step.

    >>> x, y = jnp.ones((4, 1, 2)), jnp.ones((4, 1, 3))
    >>> error = lambda f, y: jnp.sum((f - y) ** 2) / 2
    >>> zero = kernel_maml_init(4, 2, 3)
    >>> kernel_maml_predict(lambda x, y: x @ y.T, error, zero, Tasks(x, y, x, y), inner_rate=0.1).shape
    (4, 1, 3)
    """
    check_tasks(tasks, inner_steps)
    require_array("support_x", tasks.support_x, (None, None, state.anchors.shape[1]))
    t, s = tasks.support_x.shape[:2]
    x = jnp.concatenate([tasks.support_x, tasks.query_x], 1)
    rows = x.reshape(-1, x.shape[2])
    start = jnp.matmul(kernel(rows, state.anchors), state.coefficients, precision="highest").reshape(
        t, -1, state.coefficients.shape[1]
    )
    rate = jnp.asarray(inner_rate, x.dtype)

    def one(f: Array, x: Array, y: Array) -> Array:
        towards = kernel(x, x[:s])
        descend = lambda f, _: (f - rate * towards @ jax.grad(loss)(f[:s], y), None)
        return jax.lax.scan(descend, f, length=inner_steps)[0][s:]

    return jax.vmap(one)(start, x, tasks.support_y)


def kernel_maml_step(
    kernel: Kernel,
    loss: Loss,
    state: KernelMaml,
    tasks: Tasks,
    slots: Int[ArrayLike, "t q"] | None = None,
    *,
    rate: Float[ArrayLike, ""],
    inner_rate: Float[ArrayLike, ""],
    inner_steps: int = 1,
    clip: float | None = None,
) -> tuple[KernelMaml, Float[Array, "t q o"]]:
    """One step of gradient descent on the sum over tasks, and the values on the queries before it.

    Args:
      kernel: `kernel(x, y)`, of rows.
      loss: `loss(outputs, y)`, a number.
      state: from `kernel_maml_init` or the step before.
      tasks: with inputs that are rows.
      slots: row for each query. Queries are drawn again and again from a finite set: with their place in it as slot,
        coefficients of the same input add up and the capacity is the size of the set. None appends.
      rate: of the outer step.
      inner_rate: eta.
      inner_steps: of gradient descent.
      clip: largest norm of the gradient, as a function; None for no limit.

    Raises:
      ValueError: as `kernel_maml_predict`, or if the capacity is known to be exceeded. Where that is not known, under
        `jit`, the coefficients become NaN instead.

    Cost: as `kernel_maml_predict`, and a kernel of all queries with each other.

    >>> x, y = jnp.ones((1, 1, 2)), jnp.ones((1, 1, 1))
    >>> error, start = lambda f, y: jnp.sum((f - y) ** 2) / 2, kernel_maml_init(4, 2, 1)
    >>> state, _ = kernel_maml_step(lambda x, y: x @ y.T, error, start, Tasks(x, y, x, y), rate=1.0, inner_rate=0.25)
    >>> state.coefficients.tolist(), int(state.used)
    ([[0.5], [0.0], [0.0], [0.0]], 1)
    """
    outputs = kernel_maml_predict(kernel, loss, state, tasks, inner_rate=inner_rate, inner_steps=inner_steps)
    x = jnp.asarray(tasks.query_x).reshape(-1, tasks.query_x.shape[2])
    chi = jax.vmap(jax.grad(loss))(outputs, tasks.query_y).reshape(len(x), -1)
    if clip is not None:
        square = jnp.einsum("io,ij,jo->", chi, kernel(x, x), chi, precision="highest")
        chi *= jnp.minimum(1, clip / jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny)))
    capacity = len(state.anchors)
    if slots is None:
        room = "at most the capacity minus the rows of one step"
        require_known("state.used", state.used, lambda used: used + len(x) <= capacity, room)
        used = state.used + len(x)
        chi = jnp.where(used <= capacity, chi, jnp.nan)
        rows = jnp.minimum(state.used + jnp.arange(len(x)), capacity - 1)
    else:
        slots = jnp.asarray(slots)
        require(slots.shape == tasks.query_x.shape[:2], "slots", f"shape {slots.shape}", "one row for each query")
        used, rows = state.used, slots.reshape(-1)
    moved = jnp.asarray(state.coefficients).at[rows].add(-jnp.asarray(rate, chi.dtype) * chi)
    return KernelMaml(jnp.asarray(state.anchors).at[rows].set(x), moved, used), outputs
