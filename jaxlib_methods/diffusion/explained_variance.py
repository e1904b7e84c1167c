"""How much of one score another explains, noise level by noise level.

    EV = mean_b [1 - |s_b - a_b|^2 / |s_b|^2],    s the score explained (a network's), a the one that explains it.

1 is perfect, 0 is no better than zero; unbounded below. Near 1 the digits are in 1 - EV, so that is what the functions
over noise levels return and what belongs on a log axis.
Wang and Vastola 2024, section 4.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_positive, require_size

__all__ = ["PROBE_SIGMAS", "explained_variance", "unexplained_variance", "unexplained_variance_curve"]

PROBE_SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 80.0)
"""The noise levels at which the paper reports explained variance."""


def explained_variance(score: Float[Array, "b d"], analytic: Float[Array, "b d"]) -> Float[Array, ""]:
    """Explained variance of `score` by `analytic`; swap the two for the reverse role.

    A zero row of `score` gives -inf or NaN.

    Raises:
      ValueError: if the shapes differ.

    >>> float(explained_variance(jnp.array([[2.0, 0.0]]), jnp.array([[1.0, 0.0]])))
    0.75
    """
    return 1 - unexplained_variance(score, analytic)


def unexplained_variance(score: Float[Array, "b d"], analytic: Float[Array, "b d"]) -> Float[Array, ""]:
    """1 - EV without its rounding: mean_b |s_b - a_b|^2 / |s_b|^2. Args and errors as `explained_variance`.

    >>> float(unexplained_variance(jnp.array([[2.0, 0.0]]), jnp.array([[1.0, 0.0]])))
    0.25
    """
    require_array("score", score, (None, None))
    require_array("analytic", analytic, score.shape)
    return jnp.mean(jnp.sum((score - analytic) ** 2, 1) / jnp.sum(score**2, 1))


def unexplained_variance_curve(
    key: Key[Array, ""],
    denoise: Callable[[Array, Array], Array],
    analytic: Sequence[Callable[[Array, Array], Array]],
    data: Float[Array, "n d"],
    sigmas: Float[Array, " s"],
    *,
    batches: int = 8,
    batch_size: int = 256,
    probes: str = "data",
    of: str = "score",
) -> Float[Array, "a s"]:
    """1 - EV of one denoiser's score by several others, averaged over random probes at each noise level.

    Args:
      key: draws the probes, the same ones for all denoisers and, up to scale, for all levels.
      denoise: D(x, sigma) explained; x (b, d), sigma a scalar.
      analytic: the denoisers that explain it.
      data: clean points; b of them are drawn with replacement for each batch.
      sigmas: noise levels; positive.
      batches: batches averaged, one held at a time.
      batch_size: b.
      probes: "data", points plus noise, or "noise", noise alone.
      of: "score", or "denoised" to compare the denoised images themselves.

    Returns:
      One row a denoiser, one column a level.

    Raises:
      ValueError: if shapes, sizes or options do not fit, or a known sigma is not positive.

    >>> shrink = lambda factor: lambda x, sigma: factor * x
    >>> data, sigmas = jnp.ones((4, 2)), jnp.ones(1)
    >>> unexplained_variance_curve(jax.random.key(0), shrink(0.0), [shrink(0.5)], data, sigmas).tolist()
    [[0.25]]
    """
    require_array("data", data, (None, None))
    data = jnp.asarray(data)
    require(data.shape[0] > 0, "data", f"shape {data.shape}", "a matrix with at least one row")
    require_array("sigmas", sigmas, (None,))
    require_positive("sigmas", sigmas)
    require_size("batches", batches)
    require_size("batch_size", batch_size)
    require_choice("probes", probes, ("data", "noise"))
    require_choice("of", of, ("score", "denoised"))

    def one_batch(key):
        row_key, noise_key = jax.random.split(key)
        clean = data[jax.random.randint(row_key, (batch_size,), 0, data.shape[0])]
        noise = jax.random.normal(noise_key, clean.shape, data.dtype)

        def one_level(sigma):
            x = sigma * noise + (clean if probes == "data" else 0)
            compared = lambda d: d(x, sigma) - (x if of == "score" else 0)  # sigma^2 times the score
            truth = compared(denoise)
            return jnp.stack([unexplained_variance(truth, compared(other)) for other in analytic])

        return jax.lax.map(one_level, sigmas.astype(data.dtype))

    return jax.lax.map(one_batch, jax.random.split(key, batches)).mean(0).T
