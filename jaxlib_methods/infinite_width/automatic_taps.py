"""Taps for functions that show none: their traced program tells where weights meet inputs.

The program is that of one example, and each of its equations is mapped over the examples by itself. So all axes that a
product does not sum over are positions of one example, in any order, be they as long as the batch or not.

A leaf of the parameters is followed as long as the program only arranges its numbers and reads each arrangement once.
Where such an array meets inputs, the order of its numbers does not matter: the kernel sums over all of them.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jaxtyping import Array, Float, PyTree, Shaped

from jaxlib_methods.infinite_width.taps import PLAIN, Recorder, Taps, patches
from jaxlib_methods.numerics.checks import require

__all__ = ["automatic_taps"]

INLINED = ("jit", "pjit", "checkpoint", "remat2")
ARRANGED = ("reshape", "transpose", "squeeze", "rev", "copy", "convert_element_type")  # the same numbers, if not cast


class Value(NamedTuple):
    """An array of the program.

    Attributes:
      array: with the axis of examples in front, if mapped.
      mapped: whether it depends on the inputs.
      leaf: the parameter whose numbers it holds; None for none.
      axes: along which it holds them; along the others it repeats them.
    """

    array: Any
    mapped: bool = False
    leaf: Any = None
    axes: tuple[int, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether it holds a number of the leaf more than once."""
        return jnp.size(self.array) != jnp.size(self.leaf)


def automatic_taps(
    apply: Callable[[PyTree, Shaped[Array, "n ..."]], Float[Array, "n ..."]],
) -> Callable[..., Float[Array, "n ..."]]:
    """The same function with a keyword `taps`, so that `empirical_ntk` can use structured derivatives.

        y = x w,    y = x * w,    y = x + b,        w, b leaves of the parameters that the program reads once

    Any library's networks will do: flax.linen by `module.apply`, flax.nnx by `nn.nnx_functional`, equinox.
    Products, convolutions (strided, padded, transposed) and sums are found, with weights of any number of axes,
    reshaped or transposed. All else is left to the Jacobian, so kernels are exact in any case: weights that are used
    twice, cast, masked or scaled, dilated or grouped filters, batches of matrices, weights inside of loops or of
    functions with a derivative of their own.

    Args:
      apply: (parameters, inputs (n, ...)) to outputs (n, ...), each example by itself.

    Returns:
      `apply(params, x, *, taps=PLAIN)`.

    Raises:
      ValueError: if `apply` is not callable; at a call by `empirical_ntk`, if it does not give one array (n, ...).

    Cost: none without a `Recorder`; with one, tracing.

    >>> from jaxlib_methods.infinite_width import empirical_ntk
    >>> apply = automatic_taps(lambda w, x: jnp.tanh(x) @ w)
    >>> empirical_ntk(apply, jnp.ones((3, 2)), jnp.eye(3), method="structured").shape
    (3, 3)
    """
    require(callable(apply), "apply", repr(apply), "a function of parameters and inputs")

    def with_taps(params, x, *, taps: Taps = PLAIN):
        if not isinstance(taps, Recorder):
            return apply(params, x)
        leaves, structure = jax.tree.flatten(params)
        one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        program = jax.make_jaxpr(lambda leaves, x: apply(structure.unflatten(leaves), x))(leaves, one)
        shapes = [result.shape for result in program.out_avals]
        fits = len(shapes) == 1 and shapes[0][:1] == (1,)
        require(fits, "apply", f"outputs of shapes {shapes} for one example", "a function to one array (n, ...)")
        values = [*map(_parameter, leaves), Value(jnp.asarray(x)[:, None], True)]
        y = _run(program.jaxpr, program.consts, values, taps)[0]
        return jnp.broadcast_to(y.array, (len(x), *shapes[0])).reshape(len(x), *shapes[0][1:])

    return with_taps


def _parameter(leaf: Any) -> Value:
    """A leaf before the program has done anything to it; those of whole numbers have no derivatives to be found."""
    array = jnp.asarray(leaf)
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return Value(array, False, leaf if floating else None, tuple(range(array.ndim)))


def _run(program: Any, constants: Sequence[Any], values: Sequence[Value], taps: Recorder) -> list[Value]:
    """Results of a program; what is read more than once is no longer followed."""
    uses = Counter(id(v) for v in [*(v for equation in program.eqns for v in equation.invars), *program.outvars])
    known: dict[int, Value] = {}

    def write(variables, values):
        for variable, value in zip(variables, values, strict=True):
            known[id(variable)] = value if uses[id(variable)] == 1 else value._replace(leaf=None)

    read = lambda variable: known[id(variable)] if id(variable) in known else Value(variable.val)
    write([*program.constvars, *program.invars], [*map(Value, constants), *values])
    for equation in program.eqns:
        write(equation.outvars, _equation(program, equation, [read(variable) for variable in equation.invars], taps))
    return [read(variable) for variable in program.outvars]


def _equation(program: Any, equation: Any, operands: list[Value], taps: Recorder) -> list[Value]:
    """Results of one equation, shown if a weight meets inputs there."""
    name, options = equation.primitive.name, equation.params
    if name in INLINED:
        inner = options["jaxpr"]
        return _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands, taps)
    results = _evaluate(program, equation, operands)
    weights = [value for value in operands if not value.mapped and value.leaf is not None]
    if len(operands) == len(weights) == 1:
        return [_follow(name, options, weights[0], results[0])]
    if len(operands) == 2 and len(weights) == 1 and results[0].mapped and name in SHOW:
        return [results[0]._replace(array=SHOW[name](options, operands, weights[0], results[0].array, taps))]
    return results


def _evaluate(program: Any, equation: Any, operands: list[Value]) -> list[Value]:
    """Results of one equation, mapped over the examples where an operand is."""
    given = [i for i, variable in enumerate(equation.invars) if not hasattr(variable, "val")]
    alone = program.replace(
        constvars=[], invars=[equation.invars[i] for i in given], outvars=equation.outvars, eqns=[equation]
    )
    call = lambda *arrays: eval_jaxpr(alone, (), *arrays)
    mapped = any(value.mapped for value in operands)
    if mapped:
        call = jax.vmap(call, [0 if operands[i].mapped else None for i in given])
    return [Value(result, mapped) for result in call(*(operands[i].array for i in given))]


def _follow(name: str, options: dict[str, Any], weight: Value, result: Value) -> Value:
    """The result with its leaf, if it holds the leaf's numbers still."""
    old, new = weight.array, result.array
    if name == "broadcast_in_dim":
        to = options["broadcast_dimensions"]
        return result._replace(leaf=weight.leaf, axes=tuple(int(to[a]) for a in weight.axes if old.shape[a] > 1))
    if name in ARRANGED and not weight.repeats and old.dtype == new.dtype:
        return result._replace(leaf=weight.leaf, axes=tuple(range(new.ndim)))
    return result


def _dot(options: dict[str, Any], operands: list[Value], weight: Value, y: Array, taps: Recorder) -> Array:
    """A product; its axes are those of the left operand and then those of the right that are not summed."""
    side = 0 if operands[0].mapped else 1
    x, (contracted, batch) = operands[side].array, options["dimension_numbers"]
    if weight.repeats or batch[0]:
        return y
    summed = [axis + 1 for axis in contracted[side]]
    free = [axis for axis in range(1, x.ndim) if axis not in summed]
    see = lambda: _rows(x, free, summed)
    own = weight.array.ndim - len(summed)
    axes = range(y.ndim - own, y.ndim) if side == 0 else range(1, 1 + own)
    return _show(y, [axis for axis in range(1, y.ndim) if axis not in axes], axes, weight, "shared", see, taps)


def _conv(options: dict[str, Any], operands: list[Value], weight: Value, y: Array, taps: Recorder) -> Array:
    """A convolution; inputs are padded and brought to the layout of `patches`."""
    x, (into, filters, out) = operands[0].array, options["dimension_numbers"]
    groups = options["feature_group_count"] * options["batch_group_count"]
    if operands[1] is not weight or weight.repeats or groups > 1 or max(options["rhs_dilation"], default=1) > 1:
        return y

    def see():
        moved = x.transpose(0, *(axis + 1 for axis in (into[0], *into[2:], into[1])))
        rows = moved.reshape(-1, *moved.shape[2:])
        steps = [(*pads, d - 1) for pads, d in zip(options["padding"], options["lhs_dilation"], strict=True)]
        padded = jax.lax.pad(rows, jnp.zeros((), x.dtype), [(0, 0, 0), *steps, (0, 0, 0)])
        sizes = tuple(weight.array.shape[axis] for axis in filters[2:])
        seen = patches(padded, sizes, options["window_strides"])
        return seen.reshape(len(x), -1, seen.shape[-1])

    positions = [axis + 1 for axis in (out[0], *out[2:])]
    return _show(y, positions, [out[1] + 1], weight, "shared", see, taps)


def _add(options: dict[str, Any], operands: list[Value], weight: Value, y: Array, taps: Recorder) -> Array:
    """A sum with a bias; axes of size 1, and of a scalar, are repeated by the sum itself."""
    own = [axis + 1 for axis in weight.axes if weight.array.shape[axis] > 1]
    positions = [axis for axis in range(1, y.ndim) if axis not in own]
    return _show(y, positions, own, weight, "bias", lambda: None, taps)


SHOW = {"dot_general": _dot, "conv_general_dilated": _conv, "add": _add}


def _show(
    y: Array, positions: Sequence[int], own: Sequence[int], weight: Value, kind: str, see: Callable, taps: Recorder
) -> Array:
    """Shows y as rows of the weight's own axes, one a position."""
    order = (0, *positions, *own)
    shown = taps.show(_rows(y, positions, own), weight.leaf, kind, see)
    back = [order.index(axis) for axis in range(y.ndim)]
    return shown.reshape([y.shape[axis] for axis in order]).transpose(back)


def _rows(x: Array, positions: Sequence[int], features: Sequence[int]) -> Array:
    """An array (n, positions, features) of several axes each."""
    sizes = (math.prod(x.shape[axis] for axis in axes) for axes in (positions, features))
    return x.transpose(0, *positions, *features).reshape(len(x), *sizes)
