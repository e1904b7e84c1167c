"""Power-law eigenstructures: lam_i = i^-alpha, v_i^2 = i^-beta, and what follows in closed form at large n.

With C = pi / (alpha sin(pi / alpha)) and D = pi (alpha - beta + 1) / (alpha^2 sin(pi (beta - 1) / alpha)), the fitting
ratio R = E_train / E_test = r^2 with r = delta / (n kappa), and noise s times the noiseless ridgeless error,

    kappa    = (C / (n (1 - r)))^alpha,
    E_test   = alpha / (1 + (alpha - 1) r) D (C / n)^(beta - 1) [(1 - r)^-(beta - 1) + alpha s],

up to a relative error of order n^-min(1, 2 alpha + 1 - beta). The best r is the root of

    alpha - beta - (alpha - 1) beta r + alpha (alpha - 1) (1 - r)^beta s = 0,

or 0 where the left side is not positive at r = 0, that is where s <= (beta - alpha) / (alpha (alpha - 1)).

Simon, Karkada, Ghosh and Belkin, "More is Better: when Infinite Overparameterization is Optimal and Overfitting is
Obligatory", 2023, section 5, theorem 2 and its corollary.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxlib_methods.generalization.eigenstructure import Eigenstructure
from jaxlib_methods.numerics.checks import require_known, require_nonnegative, require_size

__all__ = [
    "is_overfitting_obligatory",
    "optimal_fitting_ratio",
    "overfitting_noise_threshold",
    "power_law_eigenstructure",
    "power_law_errors",
    "power_law_kappa",
    "suboptimality_bound",
]

LARGEST_INDEX = 1e30


def power_law_eigenstructure(
    alpha: Float[ArrayLike, ""], beta: Float[ArrayLike, ""], *, exact: int = 1000
) -> Eigenstructure:
    """All infinitely many modes of a power law in about 1500 entries.

    The first modes stand for themselves; the sums over the others are integrals, by Gauss-Legendre quadrature in log i
    up to i = 1e30, and one last entry with all that is beyond.

    Args:
      alpha: decay of the eigenvalues, above 1.
      beta: decay of the target's power, above 1 and below 2 alpha + 1.
      exact: modes held one by one; the integral is wrong by about alpha^2 / (24 exact^2) of the sum beyond them.

    Returns:
      Eigenvalues, power and fractional numbers of modes, in the exponents' dtype.

    Raises:
      ValueError: if an exponent is out of range or `exact` is below 1.

    >>> eigen = power_law_eigenstructure(2.0, 2.0)
    >>> round(float(jnp.sum(eigen.lam * eigen.multiplicity)), 4), round(float(eigen.v2.sum()), 4)  # zeta(2) = 1.6449
    (1.6449, 1.6449)
    """
    alpha, beta = _exponents(alpha, beta)
    require_size("exact", exact)
    start, end = np.log(exact + 0.5), np.log(LARGEST_INDEX)
    edges = np.linspace(start, end, int(end - start) + 2)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    width = edges[1] - edges[0]
    logs = (edges[:-1, None] + width * (nodes[None] + 1) / 2).ravel()
    counts = np.tile(weights * width / 2, len(edges) - 1) * np.exp(logs)
    dtype = jnp.result_type(alpha, beta)
    log_index = jnp.asarray(np.concatenate([np.log(np.arange(1, exact + 1)), logs, [end]]), dtype)
    count = jnp.asarray(np.concatenate([np.ones(exact), counts]), dtype)
    beyond = jnp.asarray(LARGEST_INDEX, dtype)
    v2 = jnp.append(count * jnp.exp(-beta * log_index[:-1]), beyond ** (1 - beta) / (beta - 1))
    return Eigenstructure(jnp.exp(-alpha * log_index), v2, jnp.append(count, beyond / (alpha - 1)))


def power_law_kappa(
    alpha: Float[ArrayLike, "..."], n: ArrayLike, fitting_ratio: Float[ArrayLike, "..."] = 0.0
) -> Float[Array, "..."]:
    """kappa = (C / (n (1 - r)))^alpha of kernel ridge regression; arguments broadcast.

    Args:
      alpha: decay of the eigenvalues, above 1.
      n: samples.
      fitting_ratio: R = r^2 in [0, 1); 0 without ridge.

    Raises:
      ValueError: if a known argument is out of range.

    >>> round(float(power_law_kappa(2.0, 100)), 8)  # (pi / 200)^2
    0.00024674
    """
    alpha, _ = _exponents(alpha, alpha)
    n, r = _samples(n, alpha.dtype), _root(fitting_ratio, alpha.dtype)
    return (1 / (jnp.sinc(1 / alpha) * n * (1 - r))) ** alpha


def power_law_errors(
    alpha: Float[ArrayLike, "..."],
    beta: Float[ArrayLike, "..."],
    n: ArrayLike,
    noise_ratio: Float[ArrayLike, "..."] = 0.0,
    fitting_ratio: Float[ArrayLike, "..."] = 0.0,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Test and train error of kernel ridge regression at large n; arguments broadcast.

    Args:
      alpha: decay of the eigenvalues, above 1.
      beta: decay of the target's power, above 1 and below 2 alpha + 1, where the head of the spectrum takes over.
      n: samples.
      noise_ratio: noise variance over the test error without noise and ridge.
      fitting_ratio: R = E_train / E_test in [0, 1), which stands for the ridge.

    Raises:
      ValueError: if a known argument is out of range.

    >>> test, train = power_law_errors(1.5, 1.2, 1000, fitting_ratio=0.25)
    >>> round(float(train / test), 4)
    0.25
    """
    alpha, beta = _exponents(alpha, beta)
    noise_ratio = _noise(noise_ratio, alpha.dtype)
    n, r = _samples(n, alpha.dtype), _root(fitting_ratio, alpha.dtype)
    scale = (1 / (jnp.sinc(1 / alpha) * n)) ** (beta - 1) / (alpha * jnp.sinc((alpha - beta + 1) / alpha))
    test = alpha / (1 + (alpha - 1) * r) * scale * ((1 - r) ** (1 - beta) + alpha * noise_ratio)
    return test, r**2 * test


def optimal_fitting_ratio(
    alpha: Float[ArrayLike, "..."], beta: Float[ArrayLike, "..."], noise_ratio: Float[ArrayLike, "..."] = 0.0
) -> Float[Array, "..."]:
    """R = E_train / E_test at the best ridge (theorem 2); 0 where interpolation is best. Arguments broadcast.

    Args:
      alpha: decay of the eigenvalues, above 1.
      beta: decay of the target's power, above 1 and below 2 alpha + 1.
      noise_ratio: noise variance over the test error without noise and ridge.

    Raises:
      ValueError: if a known argument is out of range.

    Cost: some ten Newton steps on a convex function. Derivatives by the implicit function theorem.

    >>> round(float(optimal_fitting_ratio(1.5, 1.2)), 4)  # ((alpha - beta) / ((alpha - 1) beta))^2
    0.25
    """
    alpha, beta = _exponents(alpha, beta)
    arguments = jnp.broadcast_arrays(alpha, beta, _noise(noise_ratio, alpha.dtype))
    return jnp.vectorize(_optimal_root)(*arguments) ** 2


def overfitting_noise_threshold(alpha: Float[ArrayLike, "..."], beta: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """The noise ratio (beta - alpha) / (alpha (alpha - 1)) up to which ridge zero is best; below 0 it never is.

    Raises:
      ValueError: if a known exponent is out of range.

    >>> round(float(overfitting_noise_threshold(1.5, 1.8)), 4)
    0.4
    """
    alpha, beta = _exponents(alpha, beta)
    return (beta - alpha) / (alpha * (alpha - 1))


def is_overfitting_obligatory(
    alpha: Float[ArrayLike, "..."], beta: Float[ArrayLike, "..."], noise_ratio: Float[ArrayLike, "..."] = 0.0
) -> Bool[Array, "..."]:
    """Whether the best ridge is zero, so that every positive fitting ratio costs test error. Errors as above.

    Args:
      alpha: decay of the eigenvalues, above 1.
      beta: decay of the target's power, above 1 and below 2 alpha + 1.
      noise_ratio: noise variance over the test error without noise and ridge.

    Raises:
      ValueError: if a known argument is out of range.

    >>> bool(is_overfitting_obligatory(1.12, 1.36)), bool(is_overfitting_obligatory(1.22, 1.20))  # MNIST, SVHN
    (True, False)
    """
    threshold = overfitting_noise_threshold(alpha, beta)
    return _noise(noise_ratio, threshold.dtype) <= threshold


def suboptimality_bound(
    alpha: Float[ArrayLike, "..."],
    beta: Float[ArrayLike, "..."],
    noise_ratio: Float[ArrayLike, "..."],
    fitting_ratio: Float[ArrayLike, "..."],
) -> Float[Array, "..."]:
    """A floor of E_test(R) / min E_test: 1 + ((alpha - 1) / alpha)^2 (r - r*)^2; it holds, but is not tight.

    Args:
      alpha: decay of the eigenvalues, above 1.
      beta: decay of the target's power, above 1 and below 2 alpha + 1.
      noise_ratio: noise variance over the test error without noise and ridge.
      fitting_ratio: R = r^2 in [0, 1).

    Raises:
      ValueError: if a known argument is out of range.

    >>> float(suboptimality_bound(2.0, 1.5, 0.0, (1 / 3) ** 2).round(4))  # r* = 1/3
    1.0
    """
    best = optimal_fitting_ratio(alpha, beta, noise_ratio)
    alpha = jnp.asarray(alpha, best.dtype)
    return 1 + ((alpha - 1) / alpha) ** 2 * (_root(fitting_ratio, best.dtype) - _root(best, best.dtype)) ** 2


def _optimal_root(alpha: Array, beta: Array, noise: Array) -> Array:
    def balance(r):
        return alpha - beta - (alpha - 1) * beta * r + alpha * (alpha - 1) * (1 - r) ** beta * noise

    def newton(balance, start):
        """Steps from 0 up: a falling convex function stays positive until its root."""
        step = lambda r: -balance(r) / jax.grad(balance)(r)
        unfinished = lambda carry: (carry[1] > jnp.finfo(alpha.dtype).eps) & (carry[2] < 200)
        sweep = lambda carry: (carry[0] + carry[1], step(carry[0] + carry[1]), carry[2] + 1)
        return jax.lax.while_loop(unfinished, sweep, (start, step(start), 0))[0]

    zero = jnp.zeros_like(alpha)
    root = jax.lax.custom_root(balance, zero, newton, lambda linear, y: y / linear(jnp.ones_like(y)))
    return jnp.where(balance(zero) > 0, root, 0)


def _exponents(alpha: ArrayLike, beta: ArrayLike) -> tuple[Array, Array]:
    require_known("alpha", alpha, lambda v: (v > 1) & (v < np.inf), "above 1 and finite")
    require_known("beta", beta, lambda v: v > 1, "above 1")
    if not isinstance(alpha, Tracer):
        below = lambda v: v < 2 * np.broadcast_to(alpha, v.shape) + 1
        shape = jnp.broadcast_shapes(jnp.shape(alpha), jnp.shape(beta))
        beta = beta if jnp.shape(beta) == shape else jnp.broadcast_to(jnp.asarray(beta), shape)
        require_known("beta", beta, below, "below 2 alpha + 1")
    dtype = jnp.result_type(alpha, beta, float)
    return jnp.asarray(alpha, dtype), jnp.asarray(beta, dtype)


def _samples(n: ArrayLike, dtype) -> Array:
    require_known("n", n, lambda v: (v >= 1) & (v < np.inf), "at least 1 and finite")
    return jnp.asarray(n, dtype)


def _noise(noise_ratio: ArrayLike, dtype) -> Array:
    require_nonnegative("noise_ratio", noise_ratio)
    return jnp.asarray(noise_ratio, dtype)


def _root(fitting_ratio: ArrayLike, dtype) -> Array:
    require_known("fitting_ratio", fitting_ratio, lambda v: (v >= 0) & (v < 1), "at least 0 and below 1")
    ratio = jnp.asarray(fitting_ratio, dtype)
    return jnp.where(ratio > 0, jnp.sqrt(jnp.where(ratio > 0, ratio, 1)), 0)
