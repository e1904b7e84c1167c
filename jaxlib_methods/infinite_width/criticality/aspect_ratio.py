"""How deep a network of given width should be: the ratio at which its output neurons share the most information.

With v = nu L / n, the variance of the metric over K^2, two halves of n_L output neurons on one input have

    I = (n_L^2 / 32) (v^2 - (20 + 3 n_L) v^3 / 6) + O(v^4),        largest at L / n = 4 / ((20 + 3 n_L) nu);

groups of m_1 and m_2 neurons have m_1 m_2 v^2 / 8 to leading order. Beyond nu L / n of order one networks are chaotic.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", appendix A.
"""

from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require_known, require_size

__all__ = ["mutual_information", "optimal_aspect_ratio"]


def mutual_information(variance: Float[Array, "*b"], outputs: int) -> Float[Array, "*b"]:
    """I between two halves of the output neurons, to third order.

    Args:
      variance: v = nu L / n, nonnegative and small.
      outputs: n_L.

    Raises:
      ValueError: if a known variance is negative or `outputs` below 1.

    >>> import jax.numpy as jnp
    >>> round(float(mutual_information(jnp.array(0.1), 2)), 6)
    0.000708
    """
    require_size("outputs", outputs)
    require_known("variance", variance, lambda v: v >= 0, "nonnegative")
    return outputs**2 / 32 * (variance**2 - (20 + 3 * outputs) / 6 * variance**3)


def optimal_aspect_ratio(nu: Float[ArrayLike, ""], outputs: int = 1) -> Float[ArrayLike, ""]:
    """The depth over width of the largest mutual information.

    Args:
      nu: growth of V / K^2 a layer, from `critical_point`; positive.
      outputs: n_L.

    Raises:
      ValueError: if a known nu is not positive or `outputs` below 1.

    >>> round(optimal_aspect_ratio(5.0), 4), round(optimal_aspect_ratio(2 / 3, 10), 2)
    (0.0348, 0.12)
    """
    require_size("outputs", outputs)
    require_known("nu", nu, lambda v: v > 0, "positive")
    return 4 / ((20 + 3 * outputs) * nu)
