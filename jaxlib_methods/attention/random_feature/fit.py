"""Values of the heads by ridge regression, and under the two norm constraints of the risk bound.

    min_v |y - F v|^2 + r |v|^2,    r = reg trace(F F^T) / n,    F = (phi_m(x_i)), n rows and M p columns,

by the n equations (F F^T + r I) a = y, v = F^T a, summed over heads in blocks, or by the M p normal equations, summed
over samples in blocks: F is never stored. The norm-constrained estimator minimises the same loss over

    sum_m |v_m| <= K_1,    sum_m |v_m|^2 <= K_2 / M,

by accelerated projected gradients. The projection soft-thresholds the norms |v_m| and then scales them: a threshold
that meets the first constraint is found by bisection.

Fu, Guo, Bai and Mei, "What can a Single Attention Layer Learn?", NeurIPS 2023, section 3.2.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.attention.random_feature.heads import RandomHeads, rfa_features
from jaxlib_methods.attention.random_feature.streaming import pull_back, rfa_gram
from jaxlib_methods.attention.random_feature.tokens import require_tokens
from jaxlib_methods.numerics.checks import (
    require_array,
    require_choice,
    require_finite,
    require_nonnegative,
    require_positive,
    require_size,
)
from jaxlib_methods.numerics.normal_equations import normal_equations, normal_equations_solve
from jaxlib_methods.numerics.psd import psd_solve

__all__ = ["project_heads", "rfa_fit", "rfa_fit_constrained"]


def rfa_fit(
    heads: RandomHeads,
    x: Float[Array, "n t p"],
    y: Float[Array, "n *o"],
    reg: Float[ArrayLike, ""],
    *,
    method: str = "auto",
    readout: str = "relu",
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
    head_axis: str | None = None,
    float64: bool = False,
) -> Float[Array, "M p *o"]:
    """The values v of ridge regression.

    Args:
      heads: frozen matrices.
      x: tokens, from `attention_tokens`.
      y: targets.
      reg: nonnegative, relative to the mean squared length of a sample's features, so that no scale matters; at 0 the
        least-norm solution. In float32 keep it above 1e-6.
      method: "dual" solves n equations, "primal" M p; "auto" takes the fewer.
      readout: as in `rfa_features`.
      block: heads ("dual") or samples ("primal") whose features are held at once on a device.
      mesh: devices; samples are split over `axis`. The equations are solved on every device.
      axis: mesh axis of the samples.
      head_axis: second mesh axis, over which the heads are split, or the columns of the normal equations.
      float64: solve in double precision, and cast back; sums made in single precision keep their rounding.

    Returns:
      v, in float32 at least.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, an option is unknown, or known targets are not finite or `reg` negative.

    Cost: the features twice ("dual"), 2 n M p min(n, M p), and a Cholesky factor of that size. Memory: O(n block (p +
    N) + n^2), or O(block M p + (M p)^2).

    >>> from jaxlib_methods.attention import rfa_init, sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 5, 3, 2)
    >>> rfa_fit(rfa_init(jax.random.key(1), 2, 8), x, x[:, 1:, 0].mean(1), 1e-3).shape
    (8, 3)
    """
    _check(heads, x, y, reg, readout)
    require_choice("method", method, ("auto", "primal", "dual"))
    count, width = heads.key.shape[0], x.shape[-1]
    n, k = len(x), count * width
    if method == "dual" or (method == "auto" and n <= k):
        options = {"readout": readout, "block": block, "mesh": mesh, "axis": axis, "head_axis": head_axis}
        matrix = rfa_gram(heads, x, **options)
        dual = psd_solve(matrix, y, reg * jnp.trace(matrix) / n, float64=float64)
        return pull_back(heads, x, dual, **options)
    features = lambda rows: rfa_features(heads, rows, readout=readout).reshape(len(rows), k)
    sums = normal_equations(features, x, y, block=block, mesh=mesh, axis=axis, feature_axis=head_axis)
    ridge = reg * jnp.trace(sums.gram) / n
    return normal_equations_solve(sums, ridge, float64=float64).reshape(count, width, *y.shape[1:])


def rfa_fit_constrained(
    heads: RandomHeads,
    x: Float[Array, "n t p"],
    y: Float[Array, "n *o"],
    sum_bound: Float[ArrayLike, ""],
    square_bound: Float[ArrayLike, ""],
    reg: Float[ArrayLike, ""] = 0.0,
    *,
    steps: int = 1000,
    readout: str = "relu",
) -> Float[Array, "M p *o"]:
    """The values of least loss with sum_m |v_m| <= K_1 and sum_m |v_m|^2 <= K_2 / M.

    Args:
      heads: frozen matrices.
      x: tokens, from `attention_tokens`; they may be split over devices by rows, and heads by heads.
      y: targets.
      sum_bound: K_1, positive.
      square_bound: K_2, positive.
      reg: as in `rfa_fit`; 0 is the estimator of the paper.
      steps: of the accelerated gradient method, each of two products with F; the loss comes within
        O(|F|^2 |v|^2 / steps^2) of its least.
      readout: as in `rfa_features`.

    Returns:
      v, in float32 at least; both constraints hold to rounding.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, an option is unknown, a known bound is not positive or known targets are not
        finite.

    Cost: the features, 4 n M p operations a step, and n^2 M p + 4 n^3 for the size of a step. Memory: O(n M p + n^2).

    >>> from jaxlib_methods.attention import rfa_init, sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 5, 3, 2)
    >>> v = rfa_fit_constrained(rfa_init(jax.random.key(1), 2, 8), x, x[:, 1:, 0].mean(1), 1.0, 2.0, steps=20)
    >>> bool(jnp.linalg.norm(v, axis=1).sum() < 1.001)
    True
    """
    _check(heads, x, y, reg, readout)
    _check_bounds(sum_bound, square_bound)
    require_size("steps", steps)
    f = rfa_features(heads, x, readout=readout).astype(jnp.promote_types(x.dtype, jnp.float32))
    targets = y.reshape(len(y), -1).astype(f.dtype)
    gram = jnp.einsum("nmp,kmp->nk", f, f, precision="highest")
    ridge = jnp.asarray(reg).astype(f.dtype) * jnp.trace(gram) / len(x)
    size = jax.lax.stop_gradient(1 / (jnp.linalg.eigvalsh(gram)[-1] + ridge))

    def gradient(v):
        residual = jnp.einsum("nmp,mpo->no", f, v, precision="highest") - targets
        return jnp.einsum("nmp,no->mpo", f, residual, precision="highest") + ridge * v

    def step(carry, _):
        v, ahead, momentum = carry
        new = project_heads(ahead - size * gradient(ahead), sum_bound, square_bound)
        # The momentum starts anew where it points uphill, which makes strongly convex problems converge linearly.
        again = jnp.vdot(ahead - new, new - v) > 0
        grown = jnp.where(again, 1, (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2)
        ahead = new + jnp.where(again, 0, (momentum - 1) / grown) * (new - v)
        return (new, ahead, grown), None

    start = jnp.zeros((*f.shape[1:], targets.shape[1]), f.dtype)
    (v, _, _), _ = jax.lax.scan(step, (start, start, jnp.ones((), f.dtype)), length=steps)
    return v.reshape(*f.shape[1:], *y.shape[1:])


def project_heads(
    values: Float[Array, "M *rest"], sum_bound: Float[ArrayLike, ""], square_bound: Float[ArrayLike, ""]
) -> Float[Array, "M *rest"]:
    """The nearest values with sum_m |v_m| <= K_1 and sum_m |v_m|^2 <= K_2 / M.

    Args:
      values: v, one array for each head.
      sum_bound: K_1, positive.
      square_bound: K_2, positive.

    Raises:
      TypeError: if `values` is not floating.
      ValueError: if a known bound is not positive.

    Cost: 60 passes over the M norms.

    >>> project_heads(jnp.array([[0.0, 4.0], [1.0, 0.0]]), 2.0, 100.0).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    require_array("values", values, values.shape)
    _check_bounds(sum_bound, square_bound)
    squares = jnp.sum(values.reshape(len(values), -1) ** 2, 1)
    norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    radius = jnp.sqrt(jnp.asarray(square_bound).astype(norms.dtype) / len(norms))

    def shrunk(threshold):
        kept = jnp.maximum(norms - threshold, 0)
        square = jnp.sum(kept**2)
        inside = square <= radius**2
        return kept * jnp.where(inside, 1, radius * jax.lax.rsqrt(jnp.where(inside, 1, square)))

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        fits = shrunk(middle).sum() <= sum_bound
        return jnp.where(fits, low, middle), jnp.where(fits, middle, high)

    zero = jnp.zeros((), norms.dtype)
    high = jnp.where(shrunk(zero).sum() <= sum_bound, 0, jnp.max(norms))
    threshold = jax.lax.fori_loop(0, 60, halve, (zero, high))[1]
    ratio = shrunk(threshold) / jnp.where(norms > 0, norms, 1)
    return values * ratio.reshape(-1, *[1] * (values.ndim - 1))


def _check(heads, x, y, reg, readout):
    require_tokens("x", x, heads.key.shape[-1])
    require_array("y", y, (len(x), *y.shape[1:]))
    require_finite("y", y)
    require_nonnegative("reg", reg)
    require_choice("readout", readout, ("relu", "softmax"))


def _check_bounds(sum_bound, square_bound):
    require_positive("sum_bound", sum_bound)
    require_positive("square_bound", square_bound)
