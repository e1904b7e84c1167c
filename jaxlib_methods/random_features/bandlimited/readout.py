"""Trained read-outs of frozen hidden layers, and the error curve over bandwidths in one compiled call.

The ridge is relative to the mean diagonal of H^T H unless said otherwise. Without any, least squares in single
precision breaks down where the band is narrow: the features are then so alike that |c| reaches 1e6 and more.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_positive, require_size
from jaxlib_methods.numerics.psd import in_float64
from jaxlib_methods.numerics.ridge import ridge_fit
from jaxlib_methods.random_features.bandlimited.hidden import Activation, hidden_features, sample_hidden, scale_hidden

__all__ = ["fit_readout", "sweep_bandwidth"]


def fit_readout(
    features: Float[Array, "N n"],
    y: Float[Array, "N *t"],
    *,
    reg: Float[ArrayLike, ""] = 1e-6,
    relative: bool = True,
    rcond: float | None = None,
    float64: bool = False,
) -> Float[Array, "n *t"]:
    """Coefficients of the read-out by ridge regression or truncated singular values.

    Args:
      features: H.
      y: targets.
      reg: ridge; nonnegative.
      relative: whether `reg` is in units of trace(H^T H) / n.
      rcond: if given, solves by singular values and drops those up to rcond times the largest: slower, but exact down
        to the rounding unit, where H^T H has lost all below its root.
      float64: compute in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, a known ridge is negative, rcond not positive, or a known array not finite.

    Cost: 2 N n min(N, n) and a solve of size min(N, n); the smaller of the primal and dual systems is solved.

    >>> fit_readout(jnp.eye(2), jnp.ones(2), reg=3.0, relative=False).tolist()
    [0.25, 0.25]
    """
    require_nonnegative("reg", reg)
    ridge = reg * jnp.sum(features**2) / features.shape[1] if relative else reg
    if rcond is None:
        return ridge_fit(features, y, ridge, float64=float64)
    require_positive("rcond", rcond)

    def truncated(features, y):
        left, values, right = jnp.linalg.svd(features, full_matrices=False)
        keep = values > rcond * values[0]
        gain = jnp.where(keep, values / jnp.where(keep, values**2 + ridge, 1), 0)
        along = jnp.einsum("Nk,N...->k...", left, y, precision="highest")
        return jnp.einsum("kn,k,k...->n...", right, gain, along, precision="highest")

    return in_float64(truncated, float64, features, y)


def sweep_bandwidth(
    key: Key[Array, ""],
    x: Float[Array, "N m"],
    y: Float[Array, "N *t"],
    x_test: Float[Array, "M m"],
    y_test: Float[Array, "M *t"],
    lams: Float[Array, " l"],
    activation: Activation,
    *,
    widths: tuple[int, ...],
    seeds: int = 1,
    law: str = "box",
    beta: float | None = None,
    reg: float = 1e-6,
    relative: bool = True,
    float64: bool = False,
) -> tuple[Float[Array, "l w s *t"], Float[Array, "l w s *t"]]:
    """Root-mean-square test errors and norms |c| of trained nets over bandwidths, widths, seeds and targets.

    Units of unit range are drawn once a seed; every bandwidth scales them, and a narrow net takes the first of a wide
    one's: common random numbers, and one compiled program when called under `jit`.

    Args:
      key: typed PRNG key.
      x: training points.
      y: their targets; several share the hidden units.
      x_test: test points.
      y_test: their targets.
      lams: bandwidths; positive.
      activation: sigma, elementwise.
      widths: numbers of units.
      seeds: independent draws.
      law: of the weights, as in `sample_hidden`.
      beta: range of the biases; that of the weights if None.
      reg: ridge of the read-out; nonnegative.
      relative: as in `fit_readout`.
      float64: compute in double precision, and cast back.

    Raises:
      ValueError: if shapes do not match, a size is below 1, or the ridge is negative.

    Cost: l s sum_w of a fit, one after the other. Memory: that of one fit.

    >>> x = jnp.linspace(-1, 1, 16)[:, None]
    >>> errors, norms = sweep_bandwidth(
    ...     jax.random.key(0), x, x[:, 0], x, x[:, 0], jnp.array([0.1, 1.0]), jnp.tanh, widths=(4, 8), seeds=3
    ... )
    >>> errors.shape, norms.shape
    ((2, 2, 3), (2, 2, 3))
    """
    require_array("x", x, (None, None))
    require_array("x_test", x_test, (None, x.shape[1]))
    require_array("y", y, (len(x), *y.shape[1:]))
    require_array("y_test", y_test, (len(x_test), *y.shape[1:]))
    require_size("seeds", seeds)
    require(len(widths) > 0 and min(widths) > 0, "widths", widths, "numbers of units, at least one")

    def fit_all(x, y, x_test, y_test, lams):
        draw = lambda key: sample_hidden(key, max(widths), x.shape[1], law=law, dtype=x.dtype)
        units = jax.vmap(draw)(jax.random.split(key, seeds))

        def one(case):
            lam, hidden = case
            hidden = scale_hidden(hidden, lam, lam if beta is None else beta)
            train, test = (hidden_features(hidden, points, activation) for points in (x, x_test))
            rows = []
            for width in widths:
                c = fit_readout(train[:, :width], y, reg=reg, relative=relative)
                error = jnp.einsum("Mn,n...->M...", test[:, :width], c, precision="highest") - y_test
                rows.append((jnp.sqrt(jnp.mean(error**2, 0)), jnp.linalg.norm(c, axis=0)))
            return tuple(jnp.stack(values) for values in zip(*rows, strict=True))

        over_seeds = lambda lam: jax.lax.map(lambda hidden: one((lam, hidden)), units)
        errors, norms = jax.lax.map(over_seeds, lams)
        return errors.swapaxes(1, 2), norms.swapaxes(1, 2)

    return in_float64(fit_all, float64, x, y, x_test, y_test, lams)
