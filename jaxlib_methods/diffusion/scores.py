"""Scores and denoisers in closed form: of a Gaussian, a mixture of Gaussians, and the training set itself.

Noise model (variance exploding): x = x0 + sigma n. With p_sigma the law of x,

    s(x, sigma) = grad log p_sigma(x),    D(x, sigma) = E[x0 | x] = x + sigma^2 s(x, sigma),

    Gaussian:      s = -(Sigma + sigma^2 I)^-1 (x - mu),     D = mu + Sigma (Sigma + sigma^2 I)^-1 (x - mu)
    mixture:       s = sum_k P(k | x) s_k,                   D = sum_k P(k | x) D_k
    training set:  s = (D - x) / sigma^2,                    D = sum_i softmax_i(-|x - y_i|^2 / (2 sigma^2)) y_i.

Other noise models, x_t = alpha x0 + sigma n, are these at x_t / alpha and sigma / alpha: see `diffusion.noise`.
Wang and Vastola, "The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models", 2024,
section 3.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array, require_positive
from jaxlib_methods.numerics.gaussian import Gaussian, per_row, spectral_map
from jaxlib_methods.numerics.mixture import GaussianMixture, mixture_average
from jaxlib_methods.numerics.padding import pad_rows
from jaxlib_methods.numerics.softmax import SoftmaxPart, softmax_merge, softmax_part, softmax_psum, softmax_result

__all__ = [
    "delta_denoise",
    "delta_log_density",
    "delta_score",
    "gaussian_denoise",
    "gaussian_score",
    "mixture_denoise",
    "mixture_score",
]

Sigma = Float[ArrayLike, ""] | Float[ArrayLike, " b"]


def gaussian_score(gaussian: Gaussian, x: Float[Array, "b d"], sigma: Sigma) -> Float[Array, "b d"]:
    """Score of a Gaussian blurred by sigma; of its mean alone, or an isotropic one, through `isotropic_gaussian`.

    Args:
      gaussian: law of the clean data.
      x: noisy points.
      sigma: noise standard deviation, scalar or one a row; positive.

    Raises:
      ValueError: if shapes do not match or a known sigma is not positive.

    Cost: two (b, d) x (d, r) products.

    >>> g = Gaussian(jnp.zeros(2), jnp.eye(2), jnp.array([3.0, 1.0]), jnp.zeros(()))
    >>> gaussian_score(g, jnp.ones((1, 2)), 1.0).tolist()
    [[-0.25, -0.5]]
    """
    noise = noise_variance(x, sigma, gaussian.mean.shape[0])
    return -spectral_map(gaussian, x - gaussian.mean[None], lambda lam: 1 / (lam + noise))


def gaussian_denoise(gaussian: Gaussian, x: Float[Array, "b d"], sigma: Sigma) -> Float[Array, "b d"]:
    """Expected clean point under a Gaussian. Args, errors and cost as `gaussian_score`.

    >>> g = Gaussian(jnp.zeros(2), jnp.eye(2), jnp.array([3.0, 1.0]), jnp.zeros(()))
    >>> gaussian_denoise(g, jnp.ones((1, 2)), 1.0).tolist()
    [[0.75, 0.5]]
    """
    noise = noise_variance(x, sigma, gaussian.mean.shape[0])
    return gaussian.mean[None] + spectral_map(gaussian, x - gaussian.mean[None], lambda lam: lam / (lam + noise))


def mixture_score(
    mixture: GaussianMixture, x: Float[Array, "b d"], sigma: Sigma, *, block: int | None = None
) -> Float[Array, "b d"]:
    """Score of a Gaussian mixture blurred by sigma.

    Args:
      mixture: law of the clean data; components of any rank, with or without remainder.
      x: noisy points.
      sigma: noise standard deviation, scalar or one a row; positive.
      block: components worked on at once, all if None. Memory: O(block b (d + r)).

    Raises:
      ValueError: if shapes do not match, or a known sigma is not positive or a known weight negative.

    Cost: K (b, d) x (d, r) products, twice.

    >>> g = Gaussian(jnp.array([[-2.0], [2.0]]), jnp.ones((2, 1, 1)), jnp.ones((2, 1)), jnp.zeros(2))
    >>> float(mixture_score(GaussianMixture(jnp.full(2, 0.5), g), jnp.zeros((1, 1)), 1.0)[0, 0])
    0.0
    """
    noise = noise_variance(x, sigma)[:, 0]
    score = lambda gaussian: gaussian_score(gaussian, x, sigma)
    return mixture_average(score, mixture, x, noise=noise.reshape(jnp.shape(sigma)), block=block)


def mixture_denoise(
    mixture: GaussianMixture, x: Float[Array, "b d"], sigma: Sigma, *, block: int | None = None
) -> Float[Array, "b d"]:
    """Expected clean point under a Gaussian mixture. Args, errors and cost as `mixture_score`.

    >>> g = Gaussian(jnp.array([[-2.0], [2.0]]), jnp.ones((2, 1, 1)), jnp.ones((2, 1)), jnp.zeros(2))
    >>> float(mixture_denoise(GaussianMixture(jnp.full(2, 0.5), g), jnp.zeros((1, 1)), 1.0)[0, 0])
    0.0
    """
    noise = noise_variance(x, sigma)[:, 0]
    denoise = lambda gaussian: gaussian_denoise(gaussian, x, sigma)
    return mixture_average(denoise, mixture, x, noise=noise.reshape(jnp.shape(sigma)), block=block)


def delta_denoise(
    points: Float[Array, "n d"],
    x: Float[Array, "b d"],
    sigma: Sigma,
    *,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
) -> Float[Array, "b d"]:
    """Expected clean point when the clean law is the training set: a softmax average of its points.

    Args:
      points: training set.
      x: noisy points.
      sigma: noise standard deviation, scalar or one a row; positive.
      block: training points worked on at once on a device.
      mesh: devices; `points` is split over `axis` (any n: padded and masked), of which only the softmax sums cross
        devices, b (d + 2) numbers.
      axis: mesh axis of the training points.
      batch_axis: second mesh axis, over which `x` (and `sigma`, if one a row) is split; its size must divide b.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the training set is empty, or a known sigma is not positive.

    Cost: 4 b n d. Memory: O(b (block + d)) beyond the data. Squared distances are expanded about one training point;
    in float32 the logits carry an error of about 1e-7 |x - y| |y - y'| / sigma^2, so that two training points count as
    equally near where their squared distances from `x` differ by less than 1e-7 of the cloud's squared diameter.

    >>> delta_denoise(jnp.array([[-1.0], [1.0]]), jnp.array([[0.0], [5.0]]), 1.0).round(3).tolist()
    [[0.0], [1.0]]
    """
    return _delta_average(points, x, sigma, block, mesh, axis, batch_axis)[0]


def delta_score(
    points: Float[Array, "n d"],
    x: Float[Array, "b d"],
    sigma: Sigma,
    *,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
) -> Float[Array, "b d"]:
    """Score of the training set blurred by sigma. Args, errors and cost as `delta_denoise`.

    >>> float(delta_score(jnp.array([[-1.0], [1.0]]), jnp.zeros((1, 1)), 2.0)[0, 0])
    0.0
    """
    denoised = _delta_average(points, x, sigma, block, mesh, axis, batch_axis)[0]
    return (denoised - x) / noise_variance(x, sigma)


def delta_log_density(
    points: Float[Array, "n d"],
    x: Float[Array, "b d"],
    sigma: Sigma,
    *,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
) -> Float[Array, " b"]:
    """log (1/n) sum_i N(x; y_i, sigma^2 I). Args, errors and cost as `delta_denoise`.

    >>> float(delta_log_density(jnp.zeros((3, 2)), jnp.zeros((1, 2)), 1.0)[0])  # -log(2 pi)
    -1.8378770351409912
    """
    log_sum = _delta_average(points, x, sigma, block, mesh, axis, batch_axis)[1]
    count, dim = points.shape
    return log_sum - jnp.log(count) - 0.5 * dim * jnp.log(2 * jnp.pi * noise_variance(x, sigma)[:, 0])


def _delta_average(points, x, sigma, block, mesh, axis, batch_axis) -> tuple[Array, Array]:
    """The softmax average of the points and log sum_i exp(-|x - y_i|^2 / (2 sigma^2))."""
    require_array("points", points, (None, None))
    require(points.shape[0] > 0, "points", f"shape {points.shape}", "a matrix with at least one row")
    noise = noise_variance(x, sigma, points.shape[1])
    if mesh is None:
        present = jnp.ones(points.shape[0], x.dtype)
        return _expand(
            points[0], points, x, noise, softmax_result(_delta_part(points, present, points[0], x, noise, block))
        )
    padded, present = pad_rows(points, mesh.shape[axis])

    def local(points, present, x, noise):
        first = jnp.where(jax.lax.axis_index(axis) == 0, points[0], 0)
        centre = jax.lax.psum(first, axis)
        part = softmax_psum(_delta_part(points, present, centre, x, noise, block), axis)
        return _expand(centre, points, x, noise, softmax_result(part))

    rows = P(batch_axis)
    noise_rows = rows if noise.shape[0] == x.shape[0] else P()
    return jax.shard_map(local, mesh=mesh, in_specs=(P(axis), P(axis), rows, noise_rows), out_specs=(rows, rows))(
        padded, present, x, noise
    )


def _delta_part(points: Array, present: Array, centre: Array, x: Array, noise: Array, block: int) -> SoftmaxPart:
    """Softmax sums with logits (x - c).(y - c) / sigma^2 - |y - c|^2 / (2 sigma^2): no large |x|^2 to cancel."""
    offset = x - centre[None]

    def summarise(rows):
        y, present = rows[0].astype(x.dtype) - centre[None], rows[1]
        inner = jnp.einsum("bd,nd->bn", offset, y, precision="highest")
        logits = (inner - 0.5 * jnp.sum(y**2, 1)[None]) / noise
        return softmax_part(jnp.where(present[None] > 0, logits, -jnp.inf), y)

    return reduce_rows(summarise, softmax_merge, (points, present), block=block)


def _expand(centre, points, x, noise, result) -> tuple[Array, Array]:
    average, log_sum = result
    return centre[None] + average, log_sum - 0.5 * jnp.sum((x - centre[None]) ** 2, 1) / noise[:, 0]


def noise_variance(x: Array, sigma: ArrayLike, dim: int | None = None) -> Array:
    """Checks x (b, dim) and sigma, and gives sigma^2 as a column."""
    require_array("x", x, (None, dim))
    require_positive("sigma", sigma)
    return per_row("sigma", sigma, x) ** 2
