"""What a budget on the coefficients leaves within reach: the exact frontier, and a certificate for any finite net.

For infinitely many units drawn from p, coefficients c in L2(p), and the kernel K_il = E_p sigma(a.x_i - b) sigma(a.x_l
- b) with eigenpairs (mu_i, u_i), the best fits under every budget are the ridge fits:

    |y - g|^2 = sum_i (mu / (mu_i + mu))^2 <y, u_i>^2,    |c|^2 = sum_i mu_i <y, u_i>^2 / (mu_i + mu)^2.

For any net with features H and |c| <= Gamma, and any vector h, weak duality gives

    |y - H c| >= (<y, h> - Gamma |H^T h|_dual) / |h|,    dual of l1: the maximum over features; of l2: l2,

and for l2 equality at the ridge residual h = y - H c. On a bounded domain an analytic activation with any open band
spans a dense set: the obstruction is the growth of coefficients shown here, and rounding, not a positive infimum.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_nonnegative, require_positive
from jaxlib_methods.numerics.ridge import kernel_ridge_path

__all__ = ["Frontier", "budget_frontier", "cosine_kernel", "dual_lower_bound", "kernel_lower_bound"]


class Frontier(NamedTuple):
    """The least error |y - g| for every coefficient norm |c|, one point a ridge."""

    error: Float[Array, " r"]
    norm: Float[Array, " r"]


def budget_frontier(
    gram: Float[Array, "N N"], y: Float[Array, "N *t"], ridges: Float[ArrayLike, " r"], *, float64: bool = False
) -> Frontier:
    """Error against coefficient norm on N points, exact, from one eigendecomposition of any kernel matrix.

    Args:
      gram: kernel matrix of the points.
      y: target at the points.
      ridges: mu, nonnegative.
      float64: compute in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, a known ridge is negative, or a known array not finite.

    Cost: 10 N^3 + O(r N^2).

    >>> frontier = budget_frontier(jnp.eye(2), jnp.ones(2), jnp.array([1.0]))
    >>> (frontier.error**2).round(4).tolist(), (frontier.norm**2).round(4).tolist()
    ([0.5], [0.5])
    """
    path = kernel_ridge_path(gram, y, ridges, float64=float64)
    residual = (y[None] - path.predictions).reshape(len(path.norm), -1)
    return Frontier(jnp.sqrt(jnp.sum(residual**2, 1)), jnp.sqrt(jnp.maximum(path.norm, 0)))


def dual_lower_bound(
    features: Float[Array, "N n"],
    y: Float[Array, " N"],
    h: Float[Array, " N"],
    budget: Float[ArrayLike, ""],
    *,
    order: int = 1,
) -> Float[Array, ""]:
    """A lower bound on |y - H c| over all c with |c|_order <= budget; negative where it says nothing.

    To certify against every unit of a band, give the features of a grid fine enough to cover it, with order 1.

    Args:
      features: H, one column a unit.
      y: target at the points.
      h: any nonzero vector; a residual is a good one.
      budget: Gamma; nonnegative.
      order: 1 or 2, of the norm of c.

    Raises:
      ValueError: if shapes do not match, the order is neither, or the budget negative.

    >>> float(dual_lower_bound(jnp.eye(2), jnp.array([3.0, 4.0]), jnp.array([3.0, 4.0]), 1.0, order=2))
    4.0
    """
    require_array("features", features, (None, None))
    require_choice("order", str(order), ("1", "2"))
    reach = jnp.einsum("Nn,N->n", features, h, precision="highest")
    support = jnp.max(jnp.abs(reach)) if order == 1 else jnp.linalg.norm(reach)
    return _bound(len(features), y, h, budget, support)


def kernel_lower_bound(
    gram: Float[Array, "N N"], y: Float[Array, " N"], h: Float[Array, " N"], budget: Float[ArrayLike, ""]
) -> Float[Array, ""]:
    """A lower bound on |y - g| over all nets of infinitely many units with |c|_L2(p) <= budget.

    Args:
      gram: kernel matrix of the points.
      y: target at the points.
      h: any nonzero vector; the ridge residual of that budget makes it tight.
      budget: Gamma; nonnegative.

    Raises:
      ValueError: if shapes do not match or the budget is negative.

    >>> float(kernel_lower_bound(jnp.eye(2), jnp.array([3.0, 4.0]), jnp.array([3.0, 4.0]), 1.0))
    4.0
    """
    require_array("gram", gram, (len(y), len(y)))
    _check_pair(len(gram), y, h)
    square = jnp.einsum("i,ij,j->", h, gram, h, precision="highest")
    return _bound(len(gram), y, h, budget, jnp.sqrt(jnp.maximum(square, 0)))


def cosine_kernel(x: Float[Array, "N m"], y: Float[Array, "M m"], lam: Float[ArrayLike, ""]) -> Float[Array, "N M"]:
    """Kernel of infinitely many cosines with weights uniform in [-lam, lam]^m and uniform phases.

        E cos(a.x - b) cos(a.y - b) = (1/2) prod_i sin(lam (x_i - y_i)) / (lam (x_i - y_i)).

    On the line this is the kernel sin(lam D) / (2 lam D) of Slepian: on [-1, 1] about 2 lam / pi eigenvalues are of
    order one, and the rest of nothing.

    Args:
      x: points.
      y: other points.
      lam: bandwidth; positive.

    Raises:
      ValueError: if the points differ in dimension or a known bandwidth is not positive.

    >>> cosine_kernel(jnp.zeros((1, 1)), jnp.zeros((1, 1)), 3.0).tolist()
    [[0.5]]
    """
    require_positive("lam", lam)
    require_array("x", x, (None, None))
    require_array("y", y, (None, x.shape[1]))
    return jnp.prod(jnp.sinc(lam * (x[:, None] - y[None]) / jnp.pi), -1) / 2


def _bound(count, y, h, budget, support):
    require_nonnegative("budget", budget)
    _check_pair(count, y, h)
    return (jnp.vdot(y, h, precision="highest") - budget * support) / jnp.linalg.norm(h)


def _check_pair(count, y, h):
    require(y.shape == h.shape == (count,), "y and h", f"shapes {y.shape} and {h.shape}", f"of shape ({count},)")
