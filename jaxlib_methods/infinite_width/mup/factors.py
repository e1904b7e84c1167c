"""The maximal update parametrization (muP) of any model, from the shapes of its parameters at two widths.

An axis whose size differs between the base model and the model is a width. With the ratios m_in and m_out of a
leaf's widths among its inputs and outputs, and the base model's numbers as 1,

                                   std of init   multiplier   rate, Adam   rate, SGD      size of gradient
    input, embedding, bias, gain   1             1            1            m_out          1 / m_out
    hidden                         m_in^(-1/2)   1            1 / m_in     m_out / m_in   1 / m_out
    readout                        1             1 / m_in     1            m_in           1 / m_in
    readout without multiplier     1 / m_in      1            1 / m_in     1 / m_in       1

A readout is told from an input matrix by which axis is a width. The tied embedding has the readout's factors, and its
logits, not itself, are multiplied by 1 / m_in. Decoupled weight decay keeps rate times decay, so that its factor is one
over the rate's. Attention has the logits q.k sqrt(base head size) / head size. At equal shapes every factor is 1.

Yang and Hu, "Tensor Programs IV", 2020; Yang et al., "Tensor Programs V", 2022, tables 3, 8 and 9, section 4.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxlib_methods.numerics.checks import require, require_choice, require_size

__all__ = ["MupFactor", "Role", "leaf_factors", "mup_attention_scale", "mup_factors", "path_name"]

ROLES = ("input", "hidden", "readout", "tied", "scalar")
Role = str | tuple[Sequence[int], Sequence[int]]
Roles = Mapping[str, Role] | Callable[[str, tuple[int, ...]], Role | None]


class MupFactor(NamedTuple):
    """What muP multiplies the numbers of one leaf of the base model by, as Python floats.

    Attributes:
      init_std: standard deviation of the initial values.
      forward: the leaf where it is applied.
      learning_rate: of the optimizer the factors are for.
      weight_decay: coefficient of decoupled weight decay: one over that of the learning rate.
      gradient: gradients before an adaptive optimizer, which brings them to the base model's size; 1 for SGD.
      fan_in: ratio of the input widths.
    """

    init_std: float = 1.0
    forward: float = 1.0
    learning_rate: float = 1.0
    weight_decay: float = 1.0
    gradient: float = 1.0
    fan_in: float = 1.0


def mup_factors(
    base_shapes: PyTree, shapes: PyTree, *, optimizer: str = "adam", roles: Roles | None = None, multiplier: bool = True
) -> PyTree:
    """Factors of every leaf, in a pytree like `shapes`.

    Kernels have inputs before outputs, as flax has them: (..., in, out) for dense layers and convolutions, (embed,
    heads, head size) and (heads, head size, embed) for attention. Where one axis is a width, the leaf is of type
    "readout" if that axis is not its last and the leaf is not called bias or scale, "input" otherwise. With two widths,
    the first is among the inputs. With more, inputs and outputs are split where their ratios are equal.

    Args:
      base_shapes: parameters of the base model: a pytree of arrays, `jax.ShapeDtypeStruct`s or tuples of integers
        (an empty tuple is a node without leaves).
      shapes: the same of the model. From flax: `nnx.state(model, nnx.Param)`, `nnx_functional(model)[1]`, or the
        dictionary of linen.
      optimizer: "adam" for Adam, AdamW and others that divide by the gradient's size, or "sgd", momentum included.
      roles: what shapes cannot tell: from patterns of paths as in `fnmatch` ("*/head/kernel"), or a function of a
        leaf's path and shape that may return None, to "input", "hidden", "readout", "tied" (embedding that also reads
        out), "scalar" (all factors 1), or a pair of the axes of inputs and of outputs.
      multiplier: whether readouts have a forward multiplier; without it, only initial values and rates differ and the
        model's code stays as it is (`forward` is 1).

    Raises:
      TypeError: if a leaf has no shape.
      ValueError: if an option is unknown, the trees have different leaves, shapes have different ranks or a size 0, a
        pattern matches no leaf, or a role does not fit its leaf.

    >>> base, wide = {"w": (8, 8), "head": (8, 2)}, {"w": (32, 32), "head": (32, 2)}
    >>> factors = mup_factors(base, wide)
    >>> factors["w"].learning_rate, factors["w"].init_std, factors["head"].forward
    (0.25, 0.5, 0.25)
    """
    require_choice("optimizer", optimizer, ("adam", "sgd"))
    base, target = _shapes("base_shapes", base_shapes), _shapes("shapes", shapes)
    missing, extra = sorted(base.keys() - target.keys()), sorted(target.keys() - base.keys())
    require(not missing, "shapes", f"none at {', '.join(missing)}", "of the same leaves as base_shapes")
    require(not extra, "base_shapes", f"none at {', '.join(extra)}", "of the same leaves as shapes")
    role_of = _role_of(roles, target)
    factors = []
    for name, shape in target.items():
        given = f"shape {base[name]} for shape {shape}"
        require(len(base[name]) == len(shape), f"base_shapes at {name}", given, "of the rank of shapes")
        require(min((*shape, *base[name]), default=1) > 0, f"base_shapes at {name}", given, "without a size 0")
        ratios = [n / m for n, m in zip(shape, base[name], strict=True)]
        factors.append(_factor(name, ratios, role_of(name, shape), optimizer, multiplier))
    return jax.tree.unflatten(jax.tree.structure(shapes, is_leaf=_is_shape), factors)


def mup_attention_scale(head_dim: int, base_head_dim: int) -> float:
    """What q.k is multiplied by: sqrt(base head size) / head size, 1 / sqrt(head size) at the base model.

    Raises:
      ValueError: if a size is below 1.

    >>> mup_attention_scale(64, 16), mup_attention_scale(16, 16)
    (0.0625, 0.25)
    """
    require_size("head_dim", head_dim)
    require_size("base_head_dim", base_head_dim)
    return math.sqrt(base_head_dim) / head_dim


def path_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf as "layers/0/kernel"; the same for a flax `State` as for its dictionary."""
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_factors(factors: PyTree) -> dict[str, MupFactor]:
    """Factors by path.

    Raises:
      TypeError: if a leaf is not a `MupFactor`.
    """
    found = {}
    for path, factor in jax.tree_util.tree_leaves_with_path(factors, is_leaf=lambda leaf: isinstance(leaf, MupFactor)):
        if not isinstance(factor, MupFactor):
            raise TypeError(f"factors at {path_name(path)} must be a MupFactor, got {type(factor).__name__}")
        found[path_name(path)] = factor
    return found


def _is_shape(node):
    return type(node) is tuple and len(node) > 0 and all(isinstance(n, int | np.integer) for n in node)


def _shapes(name, tree):
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_shape):
        shape = leaf if _is_shape(leaf) else getattr(leaf, "shape", None)
        if shape is None:
            raise TypeError(f"{name} at {path_name(path)} must be an array or a shape, got {type(leaf).__name__}")
        found[path_name(path)] = tuple(map(int, shape))
    return found


def _role_of(roles, target):
    if roles is None or callable(roles):
        return roles or (lambda name, shape: None)
    for pattern in roles:
        matches = any(fnmatchcase(name, pattern) for name in target)
        require(matches, "roles", f"the pattern {pattern!r}", f"patterns of some of {', '.join(target)}")
    return lambda name, shape: next((role for pattern, role in roles.items() if fnmatchcase(name, pattern)), None)


def _factor(name, ratios, role, optimizer, multiplier):
    m_in, m_out = _fans(name, ratios, role)
    hidden = m_in != 1 and m_out != 1
    tied, bare = role == "tied", not multiplier and not hidden and m_in != 1
    require(not (tied and bare), f"roles at {name}", "'tied' without multiplier", "another: a tied embedding needs it")
    adam = 1 / m_in if hidden or bare else 1.0
    gradient = m_out if m_out != 1 else 1.0 if bare else m_in
    rate = adam if optimizer == "adam" else adam * gradient
    return MupFactor(
        init_std=m_in**-0.5 if hidden else 1 / m_in if bare else 1.0,
        forward=1.0 if hidden or bare or tied else 1 / m_in,
        learning_rate=rate,
        weight_decay=1 / rate,
        gradient=gradient if optimizer == "adam" else 1.0,
        fan_in=m_in,
    )


def _fans(name, ratios, role):
    """Ratios of the input widths and of the output widths."""
    widths = [i for i, ratio in enumerate(ratios) if ratio != 1]
    if isinstance(role, tuple):
        inputs, outputs = (sorted(i % max(len(ratios), 1) for i in axes) for axes in role)
        told = set(widths) <= {*inputs, *outputs} <= set(range(len(ratios))) and not {*inputs} & {*outputs}
        require(told, f"roles at {name}", role, f"two disjoint sets of axes with all widths {widths} among them")
        return math.prod(ratios[i] for i in inputs), math.prod(ratios[i] for i in outputs)
    if role is not None:
        require_choice(f"roles at {name}", role, ROLES)
    total = math.prod(ratios)
    is_vector = {"bias", "scale"} & set(name.split("/")[-1:])
    if role == "scalar" or not widths:
        return 1.0, 1.0
    if role == "input" or (role is None and len(widths) == 1 and (is_vector or widths[0] == len(ratios) - 1)):
        return 1.0, total
    if role in ("readout", "tied") or (role is None and len(widths) == 1):
        return total, 1.0
    require(len(widths) > 1, f"roles at {name}", "'hidden'", f"another: only the axes {widths} are widths")
    splits = [(math.prod(ratios[:i]), math.prod(ratios[i:])) for i in widths[1:]]
    if len(splits) == 1:
        return splits[0]
    balanced = [split for split in splits if math.isclose(*split)]
    needed = f"given for axes {widths}, all of which are widths: a pair of the axes of inputs and of outputs"
    require(len(balanced) == 1, f"roles at {name}", role, needed)
    return balanced[0]
