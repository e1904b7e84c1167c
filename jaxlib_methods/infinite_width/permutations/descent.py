"""Full-batch gradient descent on |f - y|^2 / 2 over the k basis vectors, three products a step.

Row i of W is what the hidden layer sees of e_i, so that with E = c_1 c_2 relu(W) V^T - P^T, the errors by input and
output,

    W <- W - rate c_1 c_2 (E V) 1(W > 0),        V <- V - rate c_1 c_2 E^T relu(W).

Only E crosses devices when hidden units are split over them: k^2 numbers a step.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int

from jaxlib_methods.infinite_width.permutations.binary_inputs import require_permutation
from jaxlib_methods.infinite_width.permutations.network import PermutationNetwork, scales
from jaxlib_methods.infinite_width.permutations.statistics import OFFSET, B
from jaxlib_methods.numerics.checks import require, require_choice, require_known, require_positive, require_size

__all__ = ["DescentPlan", "descent_plan", "permutation_network_train"]

SHARE = 0.75  # of the largest stable learning rate: room for the kernel of a finite network, which fluctuates


class DescentPlan(NamedTuple):
    """Options of a training: give them on as `**plan._asdict()`."""

    learning_rate: float
    steps: int


def descent_plan(
    k: int, width: int, *, parametrization: str = "ntk", weight_std: float = 1.0, tolerance: float = 1e-6
) -> DescentPlan:
    """A learning rate safely below the largest stable one, and the steps that leave `tolerance` of the first error.

    Args:
      k: length of the inputs.
      width: hidden units.
      parametrization: "ntk" or "standard".
      weight_std: s.
      tolerance: in (0, 1).

    Returns:
      The plan; the number of steps grows like k.

    Raises:
      ValueError: if a number is out of range or the parametrization is unknown.

    >>> descent_plan(10, 50_000).steps
    20
    """
    require_size("k", k)
    require_size("width", width)
    require_known("tolerance", tolerance, lambda p: (p > 0) & (p < 1), "between 0 and 1, excluded")
    largest, least = _rates(k, width, parametrization, weight_std)
    rate = SHARE * 2 / largest
    slowest = max(abs(1 - rate * largest), abs(1 - rate * least))
    return DescentPlan(rate, math.ceil(math.log(tolerance) / math.log(slowest)))


def permutation_network_train(
    params: PermutationNetwork,
    permutation: Int[Array, " k"],
    *,
    learning_rate: ArrayLike,
    steps: int,
    parametrization: str = "ntk",
    weight_std: ArrayLike = 1.0,
) -> PermutationNetwork:
    """A network after gradient descent on the k basis vectors.

    Args:
      params: of one network; `jax.vmap` for many.
      permutation: what is to be learned: e_i -> e_pi(i).
      learning_rate: on |f - y|^2 / 2, see `descent_plan`.
      steps: number of steps.
      parametrization: that of the draw.
      weight_std: that of the draw.

    Raises:
      ValueError: if shapes do not match, an option is unknown, or a known learning rate is not below the largest stable
        one of an infinitely wide network.

    Cost: 6 n k^2 operations a step. Memory: four times the network, whatever the number of steps.

    >>> from jaxlib_methods.infinite_width import permutation_network_apply, permutation_network_init
    >>> params = permutation_network_init(jax.random.key(0), 2, 500)
    >>> params = permutation_network_train(params, jnp.array([1, 0]), **descent_plan(2, 500)._asdict())
    >>> (jnp.abs(permutation_network_apply(params, jnp.eye(2)) - jnp.eye(2)[::-1]) < 1e-4).all().item()
    True
    """
    k, width = params.hidden.shape
    require_descent(permutation, learning_rate, steps, k, width, parametrization, weight_std)
    factors = scales(parametrization, k, width, weight_std)[1]
    return descend(params, permutation, learning_rate, steps, factors, lambda error: error)


def descend(
    params: PermutationNetwork,
    permutation: Array,
    learning_rate: ArrayLike,
    steps: int,
    factors: tuple[ArrayLike, ArrayLike],
    across: Callable[[Array], Array],
) -> PermutationNetwork:
    """Gradient descent of some units, with their outputs summed over all by `across`."""
    dtype = params.hidden.dtype
    factor, rate = jnp.asarray(factors[0] * factors[1], dtype), jnp.asarray(learning_rate, dtype)
    targets = jax.nn.one_hot(permutation, permutation.shape[0], dtype=dtype)
    product = lambda *operands: jnp.einsum(*operands, precision="highest")

    def step(params, _):
        hidden, readout = params
        active = jax.nn.relu(hidden)
        error = across(factor * product("in,jn->ij", active, readout)) - targets
        back = jnp.where(hidden > 0, product("ij,jn->in", error, readout), 0)
        forward = product("ij,in->jn", error, active)
        return PermutationNetwork(hidden - rate * factor * back, readout - rate * factor * forward), None

    return jax.lax.scan(step, params, length=steps)[0]


def require_descent(
    permutation: Array,
    learning_rate: ArrayLike,
    steps: int,
    k: int,
    width: int,
    parametrization: str,
    weight_std: ArrayLike,
) -> None:
    """Checks what a training is given."""
    require_permutation(permutation)
    require(len(permutation) == k, "permutation", f"{len(permutation)} places", f"one of {k} places")
    require_size("steps", steps, 0)
    require_positive("learning_rate", learning_rate)
    if isinstance(weight_std, int | float):
        limit = 2 / _rates(k, width, parametrization, weight_std)[0]
        require_known("learning_rate", learning_rate, lambda rate: rate < limit, f"below {limit:.6g}, to be stable")


def _rates(k: int, width: int, parametrization: str, weight_std: float) -> tuple[float, float]:
    """Eigenvalues of the kernel that drives a wide network."""
    require_choice("parametrization", parametrization, ("ntk", "standard"))
    a, factor = (OFFSET["ntk"], 1) if parametrization == "ntk" else (OFFSET["nngp"], width)
    scale = factor * weight_std**4 / k
    return scale * (a + B * k), scale * a
