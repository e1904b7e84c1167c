"""The kernel of infinitely many random heads, exactly.

    K(x, y) = (1 / (N N')) sum_{i,j} e_ij <x_i, y_j>,    e_ij = E[relu(<x_0, W x_i>) relu(<y_0, W y_j>)].

Both pre-activations are Gaussian, of means mu = alpha <x_0, J x_i>, deviations s = tau |x_0| |x_i| and correlation
r = cos(x_0, y_0) cos(x_i, y_j), so that e_ij = s s' rho(mu / s, mu' / s'; r), the function of `rectified_product`;
without a mean it is s s' / 2 times the arc-cosine function of r.

Derived; cf. Fu, Guo, Bai and Mei, "What can a Single Attention Layer Learn?", NeurIPS 2023, section 3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.attention.random_feature.heads import mean_matrix
from jaxlib_methods.attention.random_feature.rectified import rectified_product, rectified_product_series
from jaxlib_methods.attention.random_feature.tokens import key_weights, require_tokens
from jaxlib_methods.numerics.arc_cosine import arc_cosine
from jaxlib_methods.numerics.checks import require_positive

__all__ = ["rfa_kernel", "rfa_kernel_diagonal"]


def rfa_kernel(
    x: Float[Array, "n t p"],
    y: Float[Array, "m u p"],
    *,
    tau: float = 0.5,
    alpha: float = 0.0,
    mean: Float[Array, "p p"] | None = None,
    nodes: int = 24,
    terms: int | None = None,
) -> Float[Array, "n m"]:
    """The kernel of ReLU heads between sets: the limit of (1/M) sum_m <phi_m(x), phi_m(y)>.

    Give it, with its options, to `numerics.gram`, `gram_product` or `kernel_ridge_cg` for many sets: they call it on
    tiles, and on many devices.

    Args:
      x: tokens, from `attention_tokens`.
      y: tokens of other sets, of as many keys or not.
      tau: as in `rfa_init`.
      alpha: as in `rfa_init`; at 0 the arc-cosine form is used.
      mean: as in `rfa_init`.
      nodes: of the quadrature of `rectified_product`.
      terms: if given, of the series in place of the quadrature; for |r| <= 0.8, so not for equal sets.

    Returns:
      The matrix, in float32 at least; 0 for sets without keys.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, or an option is out of range.

    Cost: n m N N' (2 d + an arc cosine, or an exponential for every node). Memory: O(n m N N').

    >>> from jaxlib_methods.attention import sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 2, 3, 4)
    >>> bool((rfa_kernel(x, x, alpha=4.0) > 0).all())
    True
    """
    require_tokens("x", x)
    require_tokens("y", y, x.shape[-1])
    require_positive("tau", tau)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x, y = x.astype(dtype), y.astype(dtype)
    inner = jnp.einsum("nip,mjp->nmij", x, y, precision="highest")
    lengths = [jnp.linalg.norm(jnp.where((a[..., -1:] != 0), a, 1), axis=-1) for a in (x, y)]
    cosine = inner / (lengths[0][:, None, :, None] * lengths[1][None, :, None, :])
    correlation = cosine[:, :, :1, :1] * cosine[:, :, 1:, 1:]
    shift = mean_matrix(alpha, mean, x.shape[-1], dtype)
    deviations = [tau * a[:, :1] * a[:, 1:] for a in lengths]
    if shift is None:
        rho = arc_cosine(correlation) / 2
    else:
        means = [jnp.einsum("np,pq,niq->ni", a[:, 0], shift, a[:, 1:], precision="highest") for a in (x, y)]
        a, b = (mu / s for mu, s in zip(means, deviations, strict=True))
        a, b = a[:, None, :, None], b[None, :, None, :]
        if terms is None:
            rho = rectified_product(a, b, correlation, nodes=nodes)
        else:
            rho = rectified_product_series(a, b, correlation, terms=terms)
    scales = [key_weights(a) * s for a, s in zip((x, y), deviations, strict=True)]
    return jnp.einsum("ni,mj,nmij,nmij->nm", *scales, rho, inner[:, :, 1:, 1:], precision="highest")


def rfa_kernel_diagonal(
    x: Float[Array, "n t p"],
    *,
    tau: float = 0.5,
    alpha: float = 0.0,
    mean: Float[Array, "p p"] | None = None,
    nodes: int = 24,
) -> Float[Array, " n"]:
    """K(x, x), whose mean enters the bounds; at most (2 tau)^2 for unit vectors without a mean.

    Args:
      x: tokens, from `attention_tokens`.
      tau: as in `rfa_init`.
      alpha: as in `rfa_init`.
      mean: as in `rfa_init`.
      nodes: as in `rfa_kernel`.

    Raises:
      TypeError, ValueError: as `rfa_kernel`.

    Cost: n N^2 terms. Memory: O(n N^2).

    >>> from jaxlib_methods.attention import sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 2, 3, 4)
    >>> bool((rfa_kernel_diagonal(x) < 1).all())
    True
    """
    require_tokens("x", x)
    kernel = lambda row: rfa_kernel(row[None], row[None], tau=tau, alpha=alpha, mean=mean, nodes=nodes)[0, 0]
    return jax.vmap(kernel)(x)
