"""The NTK of a finite network, and products with it.

    Theta[a, i, b, j] = sum_p df_i(x_a)/dp df_j(x_b)/dp

With N inputs, O outputs, P parameters and a forward pass of F operations an input, three ways lead to it:

    "jacobian"    both Jacobians and their product, leaf by leaf          N O F + N^2 O^2 P
    "products"    J (J^T v) for a basis of outputs, half if x2 is None    N^2 O F
    "structured"  inputs and backward signals of each weight (see `taps`) N O F + N^2 O^2 W + N^2 W a layer of width W

Each example must be mapped by itself: a layer that mixes the batch, as batch norm in training, has no such kernel.
Parameters of whole numbers are passed over.

Novak, Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent Kernel", 2022.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from jaxlib_methods.infinite_width.ntk_structured import structured_cost, structured_ntk, takes_taps
from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_size

__all__ = ["empirical_ntk", "ntk_costs", "ntk_product"]

METHODS = ("jacobian", "products", "structured")
OUTPUTS = ("trace", "diagonal", "full")
CONTRACTION = {"trace": "aip,bip->ab", "diagonal": "aip,bip->abi", "full": "aip,bjp->abij"}
BLOCK = 2**21  # numbers of a Jacobian that are contracted at a time
AT_ONCE = 2**28  # numbers of tangents that are kept to spare a loop


def empirical_ntk(
    apply: Callable[..., Array],
    params: PyTree,
    x1: Shaped[Array, "n ..."],
    x2: Shaped[Array, "m ..."] | None = None,
    *,
    method: str = "auto",
    outputs: str = "trace",
) -> Float[Array, "n m *o"]:
    """The NTK of a function of parameters.

    Args:
      apply: (parameters, inputs (n, ...)) to outputs (n, ...). Where it has a keyword `taps` (as `Layer.apply`),
        weights are found by it, and "structured" is possible; `automatic_taps(apply)` has it for any function.
      params: any pytree.
      x1: inputs.
      x2: other inputs; None stands for `x1`.
      method: "jacobian", "products", "structured", or "auto": the one of fewest operations, see `ntk_costs`.
      outputs: "trace" for the mean over outputs of the diagonal, (n, m); "diagonal" for (n, m, o); "full" for
        (n, m, o, o). Outputs of several axes are flattened.

    Raises:
      ValueError: if a name is unknown, there is no floating parameter, or "structured" is asked of a function without
        `taps`.

    Memory: "jacobian" (n + m) O P, "products" O P (on CPU, if the function convolves, m O P up to 2^28 numbers),
    "structured" O times the activations of n + m inputs; beside the result. For many inputs make tiles:
    `gram(lambda a, b: empirical_ntk(apply, params, a, b), x)`.

    >>> apply = lambda w, x: x @ w
    >>> empirical_ntk(apply, jnp.ones((3, 2)), jnp.eye(3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    require_choice("method", method, ("auto", *METHODS))
    require_choice("outputs", outputs, OUTPUTS)
    if method == "auto":
        costs = ntk_costs(apply, params, x1, x2, outputs=outputs)
        method = min(costs, key=lambda name: costs[name])
    f, leaves = _function(apply, params)
    if method == "products":
        return _by_products(f, leaves, x1, x2, outputs)
    if method == "jacobian":
        return _by_jacobian(f, leaves, x1, x2, outputs)
    require(takes_taps(apply), "apply", "a function without the keyword taps", "one with it for method 'structured'")
    found, rest = structured_ntk(apply, params, x1, x2, outputs)
    if not rest:
        assert found is not None
        return found
    keep = [i for i, place in enumerate(_moving(params)) if place in rest]

    def of_rest(chosen, x):
        now = dict(zip(keep, chosen, strict=True))
        return f([now.get(i, leaf) for i, leaf in enumerate(leaves)], x)

    others = _by_jacobian(of_rest, [leaves[i] for i in keep], x1, x2, outputs)
    return others if found is None else found + others


def ntk_costs(
    apply: Callable[..., Array],
    params: PyTree,
    x1: Shaped[Array, "n ..."] | jax.ShapeDtypeStruct,
    x2: Shaped[Array, "m ..."] | jax.ShapeDtypeStruct | None = None,
    *,
    outputs: str = "trace",
) -> dict[str, float]:
    """Operations of each method of `empirical_ntk` that is possible: estimates from shapes, nothing is run.

    Args:
      apply: as in `empirical_ntk`.
      params: any pytree; shapes are enough.
      x1: inputs; shapes are enough.
      x2: other inputs; None stands for `x1`.
      outputs: as in `empirical_ntk`.

    Raises:
      ValueError: if `outputs` is unknown or there is no floating parameter.

    >>> costs = ntk_costs(lambda w, x: x @ w, jnp.ones((3, 2)), jnp.ones((8, 3)))
    >>> sorted(costs)
    ['jacobian', 'products']
    """
    require_choice("outputs", outputs, OUTPUTS)
    f, leaves = _function(apply, params)
    n, m = x1.shape[0], (x1 if x2 is None else x2).shape[0]
    shape = jax.ShapeDtypeStruct((1, *x1.shape[1:]), x1.dtype)
    width = jax.eval_shape(f, leaves, shape).shape[1]
    parameters = sum(leaf.size for leaf in leaves)
    analysis = jax.jit(f).lower(leaves, shape).cost_analysis() or {}
    forward = analysis.get("flops", 2 * parameters)
    backward = forward * width * (n if x2 is None else n + m)  # of signals, and as much again by the weights
    pairs = n * m * (width**2 if outputs == "full" else width)
    costs = {
        "jacobian": 2 * backward + 2 * pairs * parameters,
        "products": 2 * forward * width * m * (1 + (n // 2 + 1 if x2 is None else n)),
    }
    if takes_taps(apply):
        costs["structured"] = backward + structured_cost(apply, params, x1, x2, outputs)
    return costs


def ntk_product(
    apply: Callable[..., Array],
    params: PyTree,
    x1: Shaped[Array, "n ..."],
    v: Float[Array, "m *o"],
    x2: Shaped[Array, "m ..."] | None = None,
    *,
    block: int = 128,
) -> Float[Array, "n *o"]:
    """Theta v = J(x1) J(x2)^T v without the matrix, for conjugate gradients or Lanczos.

    Args:
      apply: (parameters, inputs (n, ...)) to outputs (n, ...).
      params: any pytree.
      x1: inputs.
      v: one number for each output at `x2`.
      x2: other inputs; None stands for `x1`.
      block: inputs at a time.

    Raises:
      TypeError: if `v` is not floating.
      ValueError: if `v` does not have the outputs' shape or `block` is below 1.

    Cost: three passes over the inputs. Memory: the parameters and one block's activations.

    >>> ntk_product(lambda w, x: x @ w, jnp.ones((3, 2)), jnp.eye(3), jnp.ones((3, 2))).shape
    (3, 2)
    """
    require_size("block", block)
    x2 = x1 if x2 is None else x2
    f, leaves = _function(apply, params, flat=False)
    require_array("v", v, jax.eval_shape(f, leaves, x2).shape)
    back = lambda x, v: jax.vjp(lambda leaves: f(leaves, x), leaves)[1](v)[0]

    def add(total, x, v):
        return jax.tree.map(jnp.add, total, back(x, v))

    size = min(block, len(x2))
    whole = len(x2) // size * size
    parts = lambda a: a[:whole].reshape(-1, size, *a.shape[1:])
    zeros = jax.tree.map(jnp.zeros_like, leaves)
    tangent = jax.lax.scan(lambda total, part: (add(total, *part), None), zeros, (parts(x2), parts(v)))[0]
    if whole < len(x2):
        tangent = add(tangent, x2[whole:], v[whole:])
    forward = lambda x: jax.jvp(lambda leaves: f(leaves, x[None])[0], (leaves,), (tangent,))[1]
    return jax.lax.map(forward, x1, batch_size=min(block, len(x1)))


def _function(apply: Callable, params: PyTree, *, flat: bool = True) -> tuple[Callable, list[Any]]:
    """The function of the floating leaves, to (n, o), and these leaves."""
    leaves, structure = jax.tree.flatten(params)
    moving = _moving(params)
    require(len(moving) > 0, "params", "no floating leaf", "a pytree with one at least")

    def f(chosen, x):
        now = dict(zip(moving, chosen, strict=True))
        y = apply(structure.unflatten([now.get(i, leaf) for i, leaf in enumerate(leaves)]), x)
        return y.reshape(len(x), -1) if flat else y

    return f, [leaves[i] for i in moving]


def _moving(params: PyTree) -> list[int]:
    """The places of the floating leaves."""
    floating = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return [i for i, leaf in enumerate(jax.tree.leaves(params)) if floating(leaf)]


def _by_jacobian(f: Callable, leaves: list[Array], x1: Array, x2: Array | None, outputs: str) -> Array:
    left = _jacobians(f, leaves, x1)
    right = left if x2 is None else _jacobians(f, leaves, x2)
    parts = [_contract(a, b, outputs) for a, b in zip(left, right, strict=True)]
    total = sum(parts[1:], start=parts[0])
    return total / left[0].shape[1] if outputs == "trace" else total


def _jacobians(f: Callable, leaves: list[Array], x: Array) -> list[Array]:
    """Derivatives by each leaf, (n, o, ...)."""
    at_once = jax.vmap(lambda x: _tangents(f, leaves, x))

    def in_parts(x):
        parts = max(1, min(len(x), 8, len(x) * jax.eval_shape(f, leaves, x).shape[1] // 50))
        found = [at_once(part) for part in jnp.array_split(x, parts)]
        return [jnp.concatenate(leaf) for leaf in zip(*found, strict=True)]

    return _where_slow(f, leaves, x, in_parts, at_once, x)


def _contract(a: Array, b: Array, outputs: str) -> Array:
    """The product of two Jacobians by one leaf, in blocks of parameters, of which the compiler makes copies."""
    product = lambda a, b: jnp.einsum(CONTRACTION[outputs], a, b, precision="highest")
    a, b = (leaf.reshape(*leaf.shape[:2], -1) for leaf in (a, b))
    size, block = a.shape[2], max(1, BLOCK // (max(len(a), len(b)) * a.shape[1]))
    if size <= block:
        return product(a, b)

    def add(k, total):
        start = jnp.minimum(k * block, size - block)
        part = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, block, axis=2)
        counted = (start + jnp.arange(block) < k * block)[None, None]
        return total + product(jnp.where(counted, 0, part(a)), part(b))

    zero = jax.eval_shape(product, a, b)
    return jax.lax.fori_loop(0, -(-size // block), add, jnp.zeros(zero.shape, zero.dtype))


def _by_products(f: Callable, leaves: list[Array], x1: Array, x2: Array | None, outputs: str) -> Array:
    """Column by column; of a symmetric matrix the half of the rows that follow the diagonal, in a circle."""
    n, right = len(x1), x1 if x2 is None else x2
    columns = jnp.arange(len(right))
    rows = (columns[:, None] + jnp.arange(n // 2 + 1)[None]) % n if x2 is None else jnp.arange(n)[None]

    def column(k, tangents):
        push = jax.linearize(lambda leaves: f(leaves, x1[rows[k]] if x2 is None else x1), leaves)[1]
        few = lambda tangents: jax.lax.map(push, tangents, batch_size=max(1, 32 // rows.shape[1]))
        theta = jnp.moveaxis(_where_slow(f, leaves, right, few, jax.vmap(push), tangents), 0, 2)  # (n, i, j)
        if outputs == "full":
            return theta
        diagonal = jnp.diagonal(theta, axis1=1, axis2=2)
        return diagonal if outputs == "diagonal" else jnp.mean(diagonal, 1)

    kept = lambda x: jax.lax.map(lambda pair: column(*pair), (columns, _jacobians(f, leaves, x)))
    looped = lambda x: jax.lax.map(lambda k: column(k, _tangents(f, leaves, x[k])), columns)
    size = jax.eval_shape(f, leaves, right).size * sum(leaf.size for leaf in leaves)
    theta = _where_slow(f, leaves, right, kept if size <= AT_ONCE else looped, looped, right)
    if x2 is not None:
        return jnp.moveaxis(theta, 0, 1)
    columns = columns[:, None]
    mirrored = theta.swapaxes(2, 3) if outputs == "full" else theta
    return jnp.zeros((n, n, *theta.shape[2:]), theta.dtype).at[rows, columns].set(theta).at[columns, rows].set(mirrored)


def _tangents(f: Callable, leaves: list[Array], x: Array) -> list[Array]:
    """The derivatives at one input, (o, ...) a leaf."""
    y, pull = jax.vjp(lambda leaves: f(leaves, x[None])[0], leaves)
    return jax.vmap(pull)(jnp.eye(len(y), dtype=y.dtype))[0]


def _where_slow(f: Callable, leaves: list[Array], x: Array, slow: Callable, usual: Callable, operand: Any) -> Any:
    """Another way for functions that convolve, on CPU.

    XLA is slow there with large batches of convolutions, and has no fast gradient by filters inside of loops.
    """
    if "conv_general_dilated" not in str(jax.make_jaxpr(f)(leaves, x)):
        return usual(operand)
    return jax.lax.platform_dependent(operand, cpu=slow, default=usual)
