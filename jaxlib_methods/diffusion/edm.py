"""The EDM training recipe: preconditioning, loss, learning-rate and averaging schedules.

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise),
    c_skip = s^2 / (sigma^2 + s^2),  c_out = sigma s / sqrt(sigma^2 + s^2),  c_in = 1 / sqrt(sigma^2 + s^2),
    c_noise = log(sigma) / 4,  loss weight = (sigma^2 + s^2) / (sigma s)^2 = 1 / c_out^2,   s = sigma_data.

Karras, Aittala, Aila and Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, table 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from jaxlib_methods.numerics.checks import require_positive, require_size

__all__ = ["Preconditioning", "edm_denoiser", "edm_ema_decay", "edm_loss", "edm_optimizer", "edm_preconditioning"]

SIGMA_DATA = 0.5


class Preconditioning(NamedTuple):
    """Scalings of the network's skip, output, input and noise label, and the weight of the loss."""

    skip: Float[Array, "*s"]
    output: Float[Array, "*s"]
    input: Float[Array, "*s"]
    noise: Float[Array, "*s"]
    weight: Float[Array, "*s"]


def edm_preconditioning(sigma: Float[ArrayLike, "*s"], *, sigma_data: float = SIGMA_DATA) -> Preconditioning:
    """The scalings of the module's equation at noise level sigma.

    Args:
      sigma: noise levels of any shape; positive.
      sigma_data: standard deviation of the data.

    Raises:
      ValueError: if a known value is not positive.

    >>> [round(float(c), 4) for c in edm_preconditioning(0.5)]
    [0.5, 0.3536, 1.4142, -0.1733, 8.0]
    """
    require_positive("sigma", sigma)
    require_positive("sigma_data", sigma_data)
    sigma = jnp.asarray(sigma, jnp.result_type(sigma, jnp.float32))
    total = sigma**2 + sigma_data**2
    return Preconditioning(
        skip=sigma_data**2 / total,
        output=sigma * sigma_data / jnp.sqrt(total),
        input=1 / jnp.sqrt(total),
        noise=jnp.log(sigma) / 4,
        weight=total / (sigma * sigma_data) ** 2,
    )


def edm_denoiser(
    network: Callable[..., Array], *, sigma_data: float = SIGMA_DATA
) -> Callable[..., Float[Array, "b *event"]]:
    """Wraps a raw network F(params, x, c_noise, ...) as a denoiser D(params, x, sigma, ...).

    The denoiser takes x (b, *event) and sigma, a scalar or one a row; further arguments (class or augmentation labels,
    dropout keys) pass through to the network, which sees c_noise as (b,).

    >>> zero = edm_denoiser(lambda params, x, noise: 0 * x)
    >>> zero(None, jnp.ones((1, 2)), 0.5).tolist()
    [[0.5, 0.5]]
    """

    def denoise(params: PyTree, x: Array, sigma: ArrayLike, *args: Any, **kwargs: Any) -> Array:
        c = edm_preconditioning(jnp.broadcast_to(jnp.asarray(sigma, x.dtype), x.shape[:1]), sigma_data=sigma_data)
        wide = lambda v: v.reshape(-1, *[1] * (x.ndim - 1))
        return wide(c.skip) * x + wide(c.output) * network(params, wide(c.input) * x, c.noise, *args, **kwargs)

    return denoise


def edm_loss(
    key: Key[Array, ""],
    denoise: Callable[..., Array],
    params: PyTree,
    x: Float[Array, "b *event"],
    *args: Any,
    sigma_data: float = SIGMA_DATA,
    log_mean: float = -1.2,
    log_std: float = 1.2,
) -> Float[Array, ""]:
    """Weighted denoising error, one noise level an image: mean over images, sum over pixels.

        log sigma ~ N(log_mean, log_std^2),    weight(sigma) |D(x + sigma n, sigma) - x|^2.

    Args:
      key: draws the levels and the noise.
      denoise: D(params, x, sigma, *args), for example from `edm_denoiser`.
      params: parameters of the denoiser.
      x: clean images.
      *args: passed on to the denoiser.
      sigma_data: standard deviation of the data.
      log_mean: mean of log sigma.
      log_std: standard deviation of log sigma.

    >>> perfect = lambda params, x, sigma: jnp.zeros_like(x)
    >>> float(edm_loss(jax.random.key(0), perfect, None, jnp.zeros((4, 2))))
    0.0
    """
    level_key, noise_key = jax.random.split(key)
    sigma = jnp.exp(log_mean + log_std * jax.random.normal(level_key, x.shape[:1], x.dtype))
    noise = sigma.reshape(-1, *[1] * (x.ndim - 1)) * jax.random.normal(noise_key, x.shape, x.dtype)
    error = jnp.sum((denoise(params, x + noise, sigma, *args) - x) ** 2, axis=tuple(range(1, x.ndim)))
    return jnp.mean(edm_preconditioning(sigma, sigma_data=sigma_data).weight * error)


def edm_ema_decay(
    batch_size: int, *, half_life: float = 500_000, ramp: float | None = 0.05
) -> Callable[[Array], Array]:
    """Decay of the parameters' moving average as a function of the step: 0.5^(batch / min(half_life, ramp * seen)).

    Args:
      batch_size: images a step.
      half_life: in images.
      ramp: the half-life is at most this share of the images seen so far; None for no ramp.

    Raises:
      ValueError: if `batch_size` is below 1 or the half-life not positive.

    >>> float(edm_ema_decay(500, half_life=500, ramp=None)(jnp.int32(7)))
    0.5
    """
    require_size("batch_size", batch_size)
    require_positive("half_life", half_life)

    def decay(step: Array) -> Array:
        seen = step.astype(jnp.float32) * batch_size
        life = jnp.asarray(half_life, jnp.float32) if ramp is None else jnp.minimum(half_life, ramp * seen)
        return 0.5 ** (batch_size / jnp.maximum(life, 1e-8))

    return decay


def edm_optimizer(
    learning_rate: float = 1e-3, *, warmup_steps: int, clean_limit: float = 1e5
) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) with linear warm-up, on gradients whose NaN are 0 and infinities +-clean_limit.

    Args:
      learning_rate: after warm-up.
      warmup_steps: steps of the warm-up (10 million images over the batch size in the paper), 0 for none.
      clean_limit: what an infinite gradient becomes.

    Raises:
      ValueError: if the learning rate is not positive or `warmup_steps` is negative.

    >>> edm_optimizer(warmup_steps=10).init({"w": jnp.zeros(2)}) is not None
    True
    """
    require_positive("learning_rate", learning_rate)
    require_size("warmup_steps", warmup_steps, 0)
    clean = lambda updates: jax.tree.map(
        lambda g: jnp.nan_to_num(g, nan=0.0, posinf=clean_limit, neginf=-clean_limit), updates
    )
    rate = lambda count: learning_rate * jnp.minimum((count + 1) / max(warmup_steps, 1), 1.0)
    return optax.chain(
        optax.stateless(lambda updates, params: clean(updates)), optax.adam(rate, b1=0.9, b2=0.999, eps=1e-8)
    )
