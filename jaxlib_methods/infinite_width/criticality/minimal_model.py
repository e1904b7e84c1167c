"""The minimal model of representation learning: a quadratic model, whose kernel moves with what it learns.

    z(x) = theta . phi(x) + (eps / 2) theta . psi(x) theta

has the features phi + eps psi theta. With the kernel k_ab = phi_a . phi_b, the meta kernel mu_abc = phi_b . psi_a phi_c
and training inputs s, gradient flow of sum (z - y)^2 / 2 from theta = 0 ends, to first order in eps, at

    z_a  = k_as v + eps (r_a - k_as k_ss^-1 r_s),                    v = k_ss^-1 y
    r_a  = sum_bc mu_abc v_b v_c / 2 + sum_bc mu_bac A_cb,           k_ss A + A k_ss = y v^T
    k_ab + eps sum_c (mu_abc + mu_bac) v_c,                          the kernel of the features it has learned.

A network's gradients and second derivatives at initialization are its phi and eps psi; its eps mu_abc are what
`dntk_contraction` contracts.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", section 11.4; the solution here is derived.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array

__all__ = ["MinimalModelFit", "minimal_model_apply", "minimal_model_fit"]


class MinimalModelFit(NamedTuple):
    """What is learned at eps = 0, and the derivatives in eps there.

    Attributes:
      mean: prediction of the linear model at every input.
      mean_correction: eps times this is added; 0 at training inputs.
      kernel_change: eps times this is added to the kernel.
    """

    mean: Float[Array, " n"]
    mean_correction: Float[Array, " n"]
    kernel_change: Float[Array, "n n"]


def minimal_model_apply(
    theta: Float[Array, " p"], phi: Float[Array, "n p"], psi: Float[Array, "n p p"], epsilon: Float[ArrayLike, ""]
) -> Float[Array, " n"]:
    """The model at n inputs.

    Args:
      theta: parameters.
      phi: features of the inputs.
      psi: meta features, symmetric in the last two axes.
      epsilon: strength of the quadratic part.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match.

    >>> minimal_model_apply(jnp.ones(2), jnp.ones((1, 2)), jnp.ones((1, 2, 2)), jnp.array(0.5)).tolist()
    [3.0]
    """
    require_array("theta", theta, (None,))
    require_array("phi", phi, (None, len(theta)))
    require_array("psi", psi, (len(phi), len(theta), len(theta)))
    linear = jnp.einsum("ap,p->a", phi, theta, precision="highest")
    return linear + epsilon / 2 * jnp.einsum("apq,p,q->a", psi, theta, theta, precision="highest")


def minimal_model_fit(
    kernel: Float[Array, "n n"], meta_kernel: Float[Array, "n n n"], y: Float[Array, " s"]
) -> MinimalModelFit:
    """Predictions and kernel after training to convergence on the first s of n inputs, to first order in epsilon.

    Args:
      kernel: k, positive definite on the training inputs, which come first.
      meta_kernel: mu, symmetric in the last two axes.
      y: targets, less the outputs at theta = 0 if these are not 0.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or there are more targets than inputs.

    Cost: an eigendecomposition of s rows and n^3. Wants float64, as the correction has the condition squared.

    >>> fit = minimal_model_fit(jnp.eye(2), jnp.ones((2, 2, 2)), jnp.ones(1))
    >>> fit.mean.tolist(), fit.mean_correction.tolist(), fit.kernel_change[0].tolist()
    ([1.0, 0.0], [0.0, 1.0], [2.0, 2.0])
    """
    n, s = len(kernel), len(y)
    require_array("kernel", kernel, (n, n))
    require_array("meta_kernel", meta_kernel, (n, n, n))
    require_array("y", y, (None,))
    require(s <= n, "y", f"{s} targets for {n} inputs", "no more than the inputs")
    ein = lambda formula, *arrays: jnp.einsum(formula, *arrays, precision="highest")
    values, u = jnp.linalg.eigh(kernel[:s, :s])
    solve = lambda b: ein("si,ti,t->s", u, u / values[None], b)
    v, rotated = solve(y), ein("si,s->i", u, y)
    flow = ein("ci,ij,bj->cb", u, rotated[:, None] * (rotated / values)[None] / (values[:, None] + values[None]), u)
    change = ein("abc,c->ab", meta_kernel[:, :, :s], v)
    r = ein("ab,b->a", change[:, :s], v) / 2 + ein("bac,cb->a", meta_kernel[:s, :, :s], flow)
    cross = kernel[:, :s]
    return MinimalModelFit(ein("as,s->a", cross, v), r - ein("as,s->a", cross, solve(r[:s])), change + change.T)
