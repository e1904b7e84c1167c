"""Infinite-width limit of a linear network with one hidden layer, which learns features: a net of width d + d_out.

    f(x) = V (U x + alpha b) + c,        U_0 ~ N(0, s_u^2 / n),   V_0 ~ N(0, s_v^2 / n),   b_0 = 0,   c_0 = 0,

trained at a rate that does not depend on the width n: muP in its symmetric form. Every update lies in the span of the
directions Omega (n, d + d_out) of the initial weights, so

    U_t = n^(-1/2) Omega A_t,     V_t = n^(-1/2) B_t Omega^T,     b_t = n^(-1/2) Omega b_t',     Omega^T Omega / n -> I,

and the limit n -> infinity is the finite network f = B A x with

    A_0 = [s_u I_d; 0],            B_0 = [0, s_v I_(d_out)],

trained by the same optimiser. If s_v = 0 the width d suffices. Exact for optimisers that commute with rotations of the
hidden layer (gradient descent, momentum, weight decay, clipping by the global norm, the two loops of MAML); not for
Adam, RMSProp, signs, or clipping by entry or by tensor.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, sections 6 and 8.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.checks import require_array, require_nonnegative, require_size

__all__ = ["LinearNet", "linear_limit_init", "linear_limit_sample", "linear_net_apply", "linear_net_init"]


class LinearNet(NamedTuple):
    """One hidden layer without nonlinearity, of any width; a bias that is None is not there."""

    inner: Float[Array, "n d"]
    outer: Float[Array, "o n"]
    hidden_bias: Float[Array, " n"] | None
    output_bias: Float[Array, " o"] | None


def linear_limit_init(
    d: int,
    d_out: int,
    su: float = 1.0,
    sv: float = 1.0,
    *,
    hidden_bias: bool = False,
    output_bias: bool = False,
    dtype: str = "float32",
) -> LinearNet:
    """The limit at initialisation: width d + d_out, or d if `sv` is 0.

    Args:
      d: inputs.
      d_out: outputs.
      su: s_u.
      sv: s_v.
      hidden_bias: whether there is one.
      output_bias: whether there is one.
      dtype: of the parameters.

    Raises:
      ValueError: if a size is below 1 or a standard deviation negative.

    >>> net = linear_limit_init(2, 1, 0.5)
    >>> net.inner.tolist(), net.outer.tolist()
    ([[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]], [[0.0, 0.0, 1.0]])
    """
    _check(d, d_out, su, sv)
    n = d + d_out if sv else d
    return LinearNet(
        su * jnp.eye(n, d, dtype=dtype),
        sv * jnp.eye(d_out, n, k=n - d_out, dtype=dtype) if sv else jnp.zeros((d_out, n), dtype),
        jnp.zeros(n, dtype) if hidden_bias else None,
        jnp.zeros(d_out, dtype) if output_bias else None,
    )


def linear_net_init(
    key: Key[Array, ""],
    n: int,
    d: int,
    d_out: int,
    su: float = 1.0,
    sv: float = 1.0,
    *,
    hidden_bias: bool = False,
    output_bias: bool = False,
    dtype: str = "float32",
) -> LinearNet:
    """A network of width n in the symmetric form, whose training tends to that of `linear_limit_init`.

    Args:
      key: draws the weights.
      n: width of the hidden layer.
      d: inputs.
      d_out: outputs.
      su: s_u.
      sv: s_v.
      hidden_bias: whether there is one.
      output_bias: whether there is one.
      dtype: of the parameters.

    Raises:
      ValueError: if a size is below 1 or a standard deviation negative.

    >>> linear_net_init(jax.random.key(0), 8, 2, 1).outer.shape
    (1, 8)
    """
    require_size("n", n)
    _check(d, d_out, su, sv)
    inner, outer = jax.random.split(key)
    return LinearNet(
        su / n**0.5 * jax.random.normal(inner, (n, d), dtype),
        sv / n**0.5 * jax.random.normal(outer, (d_out, n), dtype),
        jnp.zeros(n, dtype) if hidden_bias else None,
        jnp.zeros(d_out, dtype) if output_bias else None,
    )


def linear_net_apply(
    params: LinearNet, x: Float[Array, "b d"], *, bias_alpha: Float[ArrayLike, ""] = 1.0
) -> Float[Array, "b o"]:
    """Outputs for the rows of x.

    Args:
      params: of any width, the limit's too.
      x: rows.
      bias_alpha: weight alpha of the hidden bias.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if its rows have another width than the network's input.

    >>> linear_net_apply(linear_limit_init(2, 1, output_bias=True), jnp.ones((3, 2))).shape
    (3, 1)
    """
    require_array("x", x, (None, params.inner.shape[1]))
    hidden = x @ params.inner.T
    if params.hidden_bias is not None:
        hidden += (jnp.asarray(bias_alpha, x.dtype) * params.hidden_bias)[None]
    output = hidden @ params.outer.T
    return output if params.output_bias is None else output + params.output_bias[None]


def linear_limit_sample(key: Key[Array, ""], params: LinearNet, n: int) -> LinearNet:
    """A network of width n that computes, and goes on training, as the limit does but for terms of order n^(-1/2).

    Args:
      key: draws Omega.
      params: the limit, at initialisation or trained.
      n: width.

    Raises:
      ValueError: if `n` is below 1.

    Cost: 2 n (d + d_out)^2. Memory: O(n (d + d_out)).

    >>> linear_limit_sample(jax.random.key(0), linear_limit_init(2, 1), 8).inner.shape
    (8, 2)
    """
    require_size("n", n)
    inner, outer, hidden_bias, output_bias = params
    omega = jax.random.normal(key, (n, inner.shape[0]), inner.dtype) / n**0.5
    lift = lambda a: jnp.einsum("nh,h...->n...", omega, a, precision="highest")
    return LinearNet(lift(inner), lift(outer.T).T, None if hidden_bias is None else lift(hidden_bias), output_bias)


def _check(d: int, d_out: int, su: float, sv: float) -> None:
    require_size("d", d)
    require_size("d_out", d_out)
    require_nonnegative("su", su)
    require_nonnegative("sv", sv)
