"""How complex a target is for the kernel of random heads, from above by its tensors and from below by its values.

For unit vectors and no mean, with kappa(r) = sum_l c_l r^l half the arc-cosine function,

    K(x, y) = (2 tau)^2 / N^2 sum_ij sum_rs A_rs <x_0, y_0>^r <x_i, y_j>^s,
    A_rs = sum_l c_l C(l, r) C(l + 1, s) / 4^l,

so that f(x) = (1/N) sum_i sum_rs <x_0^(r) (x) x_i^(s), T_rs> has the norm

    |f|_K^2 <= sum_rs |T_rs|^2 / A_rs / (2 tau)^2                           ("all" terms),
    |f|_K^2 <= (sum_rs |T_rs| min_l (c_l C(l, r) C(l + 1, s) / 4^l)^(-1/2))^2 / (2 tau)^2         ("one" term).

The baseline's kernel has c_l l! / (r! s! (l - r - s)!) / (N + 2)^l in place of these terms, for every key anew: its
norms are 1 / N times that for s > 0, and so (N + 2)^p / (c_p N) for <beta, x_i>^p where heads need no N.

With a mean, K holds the kernel k(u, v) = E[relu relu] of the products u = <x_0, x_i> alone, at correlation 1/4: means
over keys of F(<x_0, x_i>) then cost |F|_k^2, whatever the dimension. Values at samples bound any norm from below,
y^T K^-1 y <= |f|_K^2.

Derived; the class of functions is that of Fu, Guo, Bai and Mei, "What can a Single Attention Layer Learn?", NeurIPS
2023, section 3.3, whose own constants could not be checked.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.attention.random_feature.rectified import rectified_product
from jaxlib_methods.numerics.checks import (
    require,
    require_array,
    require_choice,
    require_nonnegative,
    require_positive,
    require_size,
)
from jaxlib_methods.numerics.psd import psd_solve

__all__ = ["inner_product_kernel", "rfa_complexity", "rfmlp_complexity", "rkhs_norm_sq"]


def rfa_complexity(
    tensors: Mapping[tuple[int, int], Array], *, tau: float = 0.5, terms: str = "all"
) -> Float[Array, ""]:
    """An upper bound of |f|_K^2 for heads without a mean and unit vectors.

    Args:
      tensors: T_rs of f for each (r, s), or its Frobenius norm: 1 for <beta, x_i>^s, d^(q/2) for <x_0, x_i>^q.
      tau: as in `rfa_init`.
      terms: "all" of the kernel's series, the sharper bound; or the best "one" for each tensor.

    Raises:
      ValueError: if there is no tensor, a degree is negative, tau is not positive or the option is unknown.

    >>> [round(float(rfa_complexity({(0, 1): jnp.ones(())}, terms=t)), 3) for t in ("one", "all")]  # 2 pi
    [6.283, 3.342]
    """
    require_positive("tau", tau)

    def series(r, s):
        lowest = max(r, s - 1)
        return [c * math.comb(l, r) * math.comb(l + 1, s) / 4**l for l, c in _kappa(lowest)]

    return _complexity(tensors, series, terms) / (2 * tau) ** 2


def rfmlp_complexity(tensors: Mapping[tuple[int, int], Array], keys: int, *, terms: str = "all") -> Float[Array, ""]:
    """An upper bound of |f|_K^2 for the baseline's kernel and unit vectors.

    Args:
      tensors: as in `rfa_complexity`.
      keys: N.
      terms: as in `rfa_complexity`.

    Raises:
      ValueError: if there is no tensor, a degree is negative, `keys` is below 1 or the option is unknown.

    >>> round(float(rfmlp_complexity({(0, 2): jnp.ones(())}, 6, terms="one")), 1)  # 64 / 6 * 4 pi
    134.0
    """
    require_size("keys", keys)

    def series(r, s):
        often = keys if s else 1
        choose = lambda l: math.comb(l, r) * math.comb(l - r, s)
        return [often * c * choose(l) / (keys + 2) ** l for l, c in _kappa(r + s)]

    return _complexity(tensors, series, terms)


def inner_product_kernel(
    u: Float[Array, " n"], v: Float[Array, " m"], *, tau: float = 0.5, alpha: float = 4.0, nodes: int = 24
) -> Float[Array, "n m"]:
    """The kernel on products <x_0, x_i> of unit vectors that biased heads contain in every dimension.

    Args:
      u: products, in [-1, 1].
      v: other products.
      tau: as in `rfa_init`.
      alpha: as in `rfa_init`.
      nodes: as in `rfa_kernel`.

    Returns:
      The matrix; |F|_k^2, estimated by `rkhs_norm_sq` on a grid, bounds |mean_i F(<x_0, x_i>)|_K^2.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if an array is not a vector or tau not positive.

    >>> round(float(inner_product_kernel(jnp.zeros(1), jnp.zeros(1))[0, 0]), 4)  # half the arc-cosine function of 1/4
    0.2267
    """
    require_array("u", u, (None,))
    require_array("v", v, (None,))
    require_positive("tau", tau)
    a, b = (alpha / (2 * tau) * w for w in (u[:, None], v[None, :]))
    quarter = jnp.full((1, 1), 0.25, u.dtype)
    return (2 * tau) ** 2 * rectified_product(a, b, quarter, nodes=nodes)


def rkhs_norm_sq(
    gram: Float[Array, "n n"], y: Float[Array, "n *o"], *, jitter: float = 1e-10, float64: bool = False
) -> Float[Array, "*o"]:
    """y^T K^-1 y: the least squared norm of a function with these values, a lower bound for any such function.

    Args:
      gram: kernel matrix of the samples.
      y: values, of one function or of several.
      jitter: added to the diagonal, relative to its mean; it lowers the bound. In float32 take 1e-5.
      float64: solve in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the jitter is negative or a known array not finite.

    Cost: n^3 / 3.

    >>> rkhs_norm_sq(2 * jnp.eye(2), jnp.array([2.0, 4.0])).round(4).tolist()
    10.0
    """
    require_nonnegative("jitter", jitter)
    require_array("gram", gram, gram.shape[:1] * 2)
    ridge = jitter * jnp.trace(gram) / len(gram)
    return jnp.sum(y * psd_solve(gram, y, ridge, float64=float64), 0)


def _complexity(tensors, series, terms):
    """Norms of all tensors together, with `series(r, s)` the terms of the coefficient of a monomial in the kernel."""
    require_choice("terms", terms, ("all", "one"))
    require(len(tensors) > 0, "tensors", "none", "at least one")
    for r, s in tensors:
        require(min(r, s) >= 0, "tensors", f"degrees {(r, s)}", "of nonnegative degrees")
    squares = [(jnp.sum(jnp.asarray(tensor) ** 2), series(*pair)) for pair, tensor in tensors.items()]
    if terms == "all":
        return jnp.asarray(sum(square / sum(parts) for square, parts in squares))
    return jnp.asarray(sum(jnp.sqrt(square) / math.sqrt(max(parts)) for square, parts in squares) ** 2)


def _kappa(lowest: int) -> list[tuple[int, float]]:
    """The l and c_l that are not 0, from the lowest on until they no longer count: c_0 = 1 / (2 pi), c_1 = 1/4, and
    c_(2k + 2) = C(2k, k) / (4^k (2k + 1) (2k + 2) 2 pi).
    """
    table = [(0, 1 / (2 * math.pi)), (1, 0.25)]
    for k in range(lowest + 32):
        table.append((2 * k + 2, math.comb(2 * k, k) / (4**k * (2 * k + 1) * (2 * k + 2) * 2 * math.pi)))
    return [(l, c) for l, c in table if l >= lowest]
