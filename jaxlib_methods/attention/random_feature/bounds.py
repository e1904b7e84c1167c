"""What the squared norm B of a target buys: excess risk with n samples, and error with M heads.

    E risk(f^) - risk(f) <= 2 L sqrt(B E K(x, x) / n),        f^ of least empirical loss in the ball |f^|_K^2 <= B,
    E |f_M - f|^2 <= B E K(x, x) / M,                         M heads drawn by their importance |v(W)|^2.

The first is the Rademacher complexity of the ball, contracted by an L-Lipschitz loss; the second the variance of
f_M = (B / M) sum_m <v(W_m), phi_m> / |v(W_m)|^2. The estimator under the constraints of `rfa_fit_constrained` has
bounds of the same form; their constants, in Fu et al. 2023, section 3, could not be checked.

Bartlett and Mendelson, "Rademacher and Gaussian Complexities", 2002, theorem 8 and lemma 22.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require, require_nonnegative, require_positive, require_size

__all__ = ["head_count_bound", "rademacher_bound"]


def rademacher_bound(
    norm_sq: Float[Array, "..."],
    diagonal: Float[Array, " n"],
    samples: int,
    *,
    lipschitz: float = 1.0,
    delta: float | None = None,
    loss_range: float = 1.0,
) -> Float[Array, "..."]:
    """Excess risk of the least empirical loss in a ball: 2 L sqrt(B E K(x, x) / n), expected or with confidence.

    Args:
      norm_sq: B, squared radius of the ball, which holds the target.
      diagonal: values of K(x, x), averaged; from `rfa_kernel_diagonal`.
      samples: n.
      lipschitz: L, of the loss in the prediction.
      delta: if given, c sqrt(2 log(2 / delta) / n) is added, and the bound holds with probability 1 - delta.
      loss_range: c, greatest minus least loss; only for `delta`.

    Raises:
      ValueError: if an argument is out of range.

    >>> rademacher_bound(jnp.array(4.0), jnp.ones(1), 64).tolist()
    0.5
    """
    require_nonnegative("norm_sq", norm_sq)
    require_size("samples", samples)
    require_positive("lipschitz", lipschitz)
    bound = 2 * lipschitz * jnp.sqrt(norm_sq * jnp.mean(diagonal) / samples)
    if delta is None:
        return bound
    require(0 < delta < 1, "delta", delta, "between 0 and 1")
    require_positive("loss_range", loss_range)
    return bound + loss_range * math.sqrt(2 * math.log(2 / delta) / samples)


def head_count_bound(norm_sq: Float[Array, "..."], diagonal: Float[Array, " n"], heads: int) -> Float[Array, "..."]:
    """B E K(x, x) / M: mean square error of the best M heads drawn by the importance |v(W)|^2 of the target's values.

    Args:
      norm_sq: B, squared norm of the target.
      diagonal: values of K(x, x), averaged; from `rfa_kernel_diagonal`.
      heads: M.

    Raises:
      ValueError: if an argument is out of range.

    >>> head_count_bound(jnp.array(4.0), jnp.ones(1), 16).tolist()
    0.25
    """
    require_nonnegative("norm_sq", norm_sq)
    require_size("heads", heads)
    return norm_sq * jnp.mean(diagonal) / heads
