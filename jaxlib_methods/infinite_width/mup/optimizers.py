"""Optimizers and initial values under muP, from the factors of `mup_factors`.

With the factors f of a leaf, descent and Adam move it by

    SGD     - lr f.rate (momentum of g),
    Adam    - lr f.rate m / (sqrt v + eps),       m, v of f.gradient g,
    AdamW   the same, and - lr decay w,

so that eps and the moments meet gradients of the base model's size at every width. The factors are Python numbers found
by the path of the leaf: no state, no memory, no communication, whatever the sharding of the parameters.
Yang et al., "Tensor Programs V", 2022, appendix B.3.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxlib_methods.infinite_width.mup.factors import leaf_factors, path_name
from jaxlib_methods.numerics.checks import require

__all__ = ["mup_adam", "mup_adamw", "mup_multiply", "mup_rescale_init", "mup_sgd", "scale_by_mup"]


def scale_by_mup(factors: PyTree) -> optax.GradientTransformation:
    """Multiplies every update by its leaf's rate: chained after `scale_by_adam` or `trace`, before the learning rate.

    Raises:
      TypeError: if a leaf of the factors is not a `MupFactor`.
      ValueError: in `update`, if an updated leaf has no factor.

    >>> from jaxlib_methods.infinite_width import mup_factors
    >>> transform = scale_by_mup(mup_factors({"w": (2, 2)}, {"w": (4, 4)}))
    >>> transform.update({"w": jnp.ones((4, 4))}, optax.EmptyState())[0]["w"][0, 0].item()
    0.5
    """
    return _scale(factors, lambda factor: factor.learning_rate)


def mup_sgd(
    learning_rate: optax.ScalarOrSchedule,
    factors: PyTree,
    *,
    momentum: float | None = None,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Descent with momentum, the base model's `optax.sgd` at equal shapes; weight decay is decoupled.

    Args:
      learning_rate: of the base model, or a schedule.
      factors: from `mup_factors(..., optimizer="sgd")`.
      momentum: decay of the trace, None for none.
      nesterov: whether the momentum is Nesterov's.
      weight_decay: w moves by - lr decay w, whatever its factors.

    Raises:
      TypeError, ValueError: as `scale_by_mup`; ValueError if the factors are those of Adam.

    >>> from jaxlib_methods.infinite_width import mup_factors
    >>> optimizer = mup_sgd(0.5, mup_factors({"b": (2,)}, {"b": (4,)}, optimizer="sgd"))
    >>> optimizer.update({"b": jnp.ones(4)}, optimizer.init({"b": jnp.ones(4)}), {"b": jnp.ones(4)})[0]["b"].tolist()
    [-1.0, -1.0, -1.0, -1.0]
    """
    plain = all(factor.gradient == 1 for factor in leaf_factors(factors).values())
    require(plain, "factors", "those of optimizer='adam'", "made with optimizer='sgd'")
    trace = [] if momentum is None else [optax.trace(momentum, nesterov=nesterov)]
    decay = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    return optax.chain(*trace, scale_by_mup(factors), *decay, optax.scale_by_learning_rate(learning_rate))


def mup_adam(
    learning_rate: optax.ScalarOrSchedule, factors: PyTree, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam, the base model's `optax.adam` at equal shapes.

    Args:
      learning_rate: of the base model, or a schedule.
      factors: from `mup_factors(..., optimizer="adam")`.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: of the base model.

    Raises:
      TypeError, ValueError: as `scale_by_mup`; ValueError if the factors are those of SGD.

    >>> from jaxlib_methods.infinite_width import mup_factors
    >>> optimizer = mup_adam(0.5, mup_factors({"w": (2, 2)}, {"w": (4, 4)}), eps=0.0)
    >>> optimizer.update({"w": jnp.ones((4, 4))}, optimizer.init({"w": jnp.ones((4, 4))}))[0]["w"][0, 0].round(3).item()
    -0.25
    """
    return mup_adamw(learning_rate, factors, b1=b1, b2=b2, eps=eps, weight_decay=0.0)


def mup_adamw(
    learning_rate: optax.ScalarOrSchedule,
    factors: PyTree,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
) -> optax.GradientTransformation:
    """AdamW, the base model's `optax.adamw` at equal shapes: w decays by lr times decay, whatever its factors.

    Args:
      learning_rate: of the base model, or a schedule.
      factors: from `mup_factors(..., optimizer="adam")`.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: of the base model.
      weight_decay: of the base model.

    Raises:
      TypeError, ValueError: as `scale_by_mup`; ValueError if the factors are those of SGD.

    >>> from jaxlib_methods.infinite_width import mup_factors
    >>> optimizer = mup_adamw(0.5, mup_factors({"w": (2, 2)}, {"w": (4, 4)}), weight_decay=0.5)
    >>> w = {"w": jnp.ones((4, 4))}
    >>> optimizer.update({"w": jnp.zeros((4, 4))}, optimizer.init(w), w)[0]["w"][0, 0].item()
    -0.25
    """
    adaptive = all(factor.learning_rate == 1 or factor.init_std != 1 for factor in leaf_factors(factors).values())
    require(adaptive, "factors", "those of optimizer='sgd'", "made with optimizer='adam'")
    return optax.chain(
        _scale(factors, lambda factor: factor.gradient),
        optax.scale_by_adam(b1, b2, eps),
        scale_by_mup(factors),
        *([optax.add_decayed_weights(weight_decay)] if weight_decay else []),
        optax.scale_by_learning_rate(learning_rate),
    )


def mup_multiply(params: PyTree, factors: PyTree) -> PyTree:
    """Parameters times their forward multipliers, to apply and differentiate a model through, whatever its code.

    loss = lambda params: model_loss(mup_multiply(params, factors), batch). A tied embedding stays as it is: the model
    multiplies its logits by base width / width.

    Raises:
      TypeError: if a leaf of the factors is not a `MupFactor`.
      ValueError: if a parameter has no factor.

    >>> from jaxlib_methods.infinite_width import mup_factors
    >>> mup_multiply({"head": jnp.ones((4, 1))}, mup_factors({"head": (2, 1)}, {"head": (4, 1)}))["head"][0].item()
    0.5
    """
    return _multiplied(params, leaf_factors(factors), lambda factor: factor.forward)


def mup_rescale_init(
    params: PyTree, factors: PyTree, *, base: PyTree | None = None, zero: Sequence[str] = ()
) -> PyTree:
    """Freshly drawn parameters, brought to the standard deviations of muP.

    Args:
      params: drawn by the model's own initializers.
      factors: from `mup_factors`.
      base: parameters of the base model, drawn by the same initializers: each leaf is brought to `init_std` times the
        root mean square of the base's. None for initializers with standard deviation fan_in^(-1/2), as those of
        flax's dense layers, convolutions and attention (not of its embeddings): only readouts change, and exactly.
      zero: patterns of paths, as in `fnmatch`, of leaves to set to 0, at every width: readouts and queries, which takes
        away the outputs and logits of size width^(-1/2) before the first step.

    Raises:
      TypeError: if a leaf of the factors is not a `MupFactor`.
      ValueError: if a parameter has no factor or no base, or a pattern matches no leaf.

    >>> from jaxlib_methods.infinite_width import mup_factors
    >>> factors = mup_factors({"head": (2, 1)}, {"head": (8, 1)})
    >>> mup_rescale_init({"head": jnp.ones((8, 1))}, factors)["head"][0].item()
    2.0
    """
    named = leaf_factors(factors)
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in zero:
        matches = any(fnmatchcase(name, pattern) for name in names)
        require(matches, "zero", f"the pattern {pattern!r}", f"patterns of some of {', '.join(names)}")
    sizes = None
    if base is not None:
        sizes = {path_name(path): _rms(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(base)}
        absent = [name for name in names if name not in sizes]
        require(not absent, "base", f"none at {', '.join(absent)}", "of the leaves of params")

    def rescale(path, leaf):
        name = path_name(path)
        if any(fnmatchcase(name, pattern) for pattern in zero):
            return jnp.zeros_like(leaf)
        factor = _factor_at(named, name)
        if sizes is None:
            return leaf * (factor.init_std * factor.fan_in**0.5)
        size = _rms(leaf)
        return leaf * (factor.init_std * jnp.where(size > 0, sizes[name] / jnp.where(size > 0, size, 1), 1))

    return jax.tree_util.tree_map_with_path(rescale, params)


def _scale(factors, get):
    named = leaf_factors(factors)

    def update(updates, state, params=None):
        return _multiplied(updates, named, get), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _multiplied(tree, named, get):
    return jax.tree_util.tree_map_with_path(lambda path, x: x * get(_factor_at(named, path_name(path))), tree)


def _factor_at(named, name):
    require(name in named, "factors", f"none at {name}", "of the same leaves as the parameters")
    return named[name]


def _rms(leaf):
    return jnp.sqrt(jnp.mean(jnp.square(leaf)))
