"""What every public function promises: one line each, checked by `test_contracts.py`.

A case is a call and its arguments as numpy arrays of float64; a check casts, stacks, perturbs or shards them.
Options that are not arrays are fixed in the call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec as P

from jaxlib_methods import diffusion, nn, numerics


class Case(NamedTuple):
    """A call that stands for one public function, and what it promises beyond `jit`, `vmap` and a kept dtype."""

    call: Callable
    arguments: tuple[Any, ...]
    rows: tuple[int, ...]  # arguments whose leading axis may be split over devices
    grad: bool  # differentiable in all floating arguments
    bfloat16: str | None  # dtype of the result on bfloat16 arguments; None where they are not taken


def case(call, *arguments, rows=(), grad=True, bfloat16=None):
    return Case(call, arguments, rows, grad, bfloat16)


KEPT, WIDER = "bfloat16", "float32"

_random = np.random.default_rng(0)
normal = lambda *shape: _random.normal(size=shape)
positive = lambda *shape: _random.uniform(0.5, 2.0, size=shape)
array = lambda *values: np.array(values)

KEY = jax.random.key(0)
X, Y, POINTS = normal(8, 3), normal(8, 3), normal(16, 3)
SIGMA, SIGMAS = np.array(0.7), positive(8)
LABELS = np.arange(16) % 2
COVARIANCE, OTHER_COVARIANCE = np.cov(POINTS.T), np.cov(normal(3, 16))
GAUSSIAN = numerics.Gaussian(normal(3), np.linalg.qr(normal(3, 2))[0], array(2.0, 0.5), np.array(0.1))
MIXTURE = numerics.GaussianMixture(
    array(0.4, 0.6),
    numerics.Gaussian(normal(2, 3), np.linalg.qr(normal(2, 3, 2))[0], positive(2, 2), positive(2)),
)
VARIANCES = GAUSSIAN.variances
MOMENTS = numerics.Moments(np.array(16.0), normal(3), COVARIANCE)
PART = numerics.SoftmaxPart(normal(8), positive(8), normal(8, 3))
LAYERS = (nn.Dense(normal(3, 4), normal(4)), nn.Dense(normal(4, 2), normal(2)))
IMAGES = normal(8, 4, 4, 1)
GRID = array(3.0, 1.0, 0.0)

shrink = lambda x, sigma: x / (1 + sigma**2)
network = lambda w, x, sigma: w * x * jnp.cos(sigma.reshape(-1, 1))


def joined_on_one_device(part):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    join = lambda p: numerics.softmax_result(numerics.softmax_psum(p, "i"))
    return jax.shard_map(join, mesh=mesh, in_specs=P(), out_specs=P())(part)


def every_method(schedule):
    return lambda t: (
        schedule.alpha(t),
        schedule.sigma(t),
        schedule.edm_sigma(t),
        schedule.time(schedule.half_log_snr(t)),
    )


CASES = {
    "numerics.covariance": case(numerics.covariance, MOMENTS, bfloat16=KEPT),
    "numerics.fit_gaussian": case(numerics.fit_gaussian, POINTS, rows=(0,), bfloat16=WIDER),
    "numerics.fit_gaussian_randomized": case(
        lambda k, x: numerics.fit_gaussian_randomized(k, x, 2), KEY, POINTS, rows=(1,), bfloat16=WIDER
    ),
    "numerics.fit_mixture": case(lambda k, x: numerics.fit_mixture(k, x, 2), KEY, POINTS, rows=(1,), grad=False),
    "numerics.frechet_distance": case(numerics.frechet_distance, X[0], COVARIANCE, Y[0], OTHER_COVARIANCE),
    "numerics.frechet_extrapolated": case(numerics.frechet_extrapolated, POINTS, POINTS[::-1] ** 2),
    "numerics.gaussian_covariance": case(numerics.gaussian_covariance, GAUSSIAN, bfloat16=KEPT),
    "numerics.gaussian_from_covariance": case(
        lambda m, c: numerics.gaussian_from_covariance(m, c, rank=2, remainder=True), X[0], COVARIANCE
    ),
    "numerics.gaussian_log_density": case(
        lambda g, x, v: numerics.gaussian_log_density(g, x, noise=v), GAUSSIAN, X, SIGMAS, rows=(1, 2), bfloat16=KEPT
    ),
    "numerics.gaussian_sample": case(lambda k, g: numerics.gaussian_sample(k, g, 4), KEY, GAUSSIAN, bfloat16=KEPT),
    "numerics.isotropic_gaussian": case(numerics.isotropic_gaussian, GAUSSIAN, bfloat16=KEPT),
    "numerics.kernel_distance": case(
        lambda x, y: numerics.kernel_distance(x, y, block=3), X, POINTS, rows=(0, 1), bfloat16=KEPT
    ),
    "numerics.kmeans": case(lambda k, x: numerics.kmeans(k, x, 2), KEY, POINTS, rows=(1,), grad=False),
    "numerics.mixture_average": case(
        lambda m, x, v: numerics.mixture_average(lambda g: g.mean[None] * x, m, x, noise=v, block=1),
        MIXTURE,
        X,
        SIGMA,
        rows=(1,),
        bfloat16=KEPT,
    ),
    "numerics.mixture_from_labels": case(
        lambda x, labels: numerics.mixture_from_labels(x, labels, 2), POINTS, LABELS, rows=(0, 1), grad=False
    ),
    "numerics.mixture_log_density": case(numerics.mixture_log_density, MIXTURE, X, rows=(1,), bfloat16=KEPT),
    "numerics.mixture_responsibilities": case(numerics.mixture_responsibilities, MIXTURE, X, rows=(1,), bfloat16=KEPT),
    "numerics.mixture_sample": case(lambda k, m: numerics.mixture_sample(k, m, 4), KEY, MIXTURE, bfloat16=KEPT),
    "numerics.moments": case(lambda x, w: numerics.moments(x, w, block=3), X, SIGMAS, rows=(0, 1), bfloat16=WIDER),
    "numerics.moments_merge": case(numerics.moments_merge, MOMENTS, MOMENTS, bfloat16=KEPT),
    "numerics.nearest_row": case(numerics.nearest_row, X, POINTS, rows=(0,), grad=False),
    "numerics.pad_rows": case(lambda x: numerics.pad_rows(x, 5), X, rows=(0,), bfloat16=KEPT),
    "numerics.randomized_eigh": case(
        lambda k, a: numerics.randomized_eigh(k, lambda q: a @ q, 3, 2, dtype=a.dtype), KEY, COVARIANCE
    ),
    "numerics.reduce_rows": case(
        lambda x: numerics.reduce_rows(lambda b: (b**2).sum(0), jnp.add, x, block=3), X, rows=(0,), bfloat16=KEPT
    ),
    "numerics.sample_frechet_distance": case(
        numerics.sample_frechet_distance, POINTS, POINTS[::-1] ** 2, rows=(0, 1), bfloat16=WIDER
    ),
    "numerics.softmax_merge": case(numerics.softmax_merge, PART, PART, rows=(0, 1), bfloat16=KEPT),
    "numerics.softmax_part": case(
        lambda l, v: numerics.softmax_result(numerics.softmax_part(l, v)),
        normal(8, 16),
        POINTS,
        rows=(0,),
        bfloat16=KEPT,
    ),
    "numerics.softmax_psum": case(joined_on_one_device, PART, bfloat16=KEPT),
    "numerics.softmax_result": case(numerics.softmax_result, PART, rows=(0,), bfloat16=KEPT),
    "numerics.spectral_map": case(
        lambda g, u: numerics.spectral_map(g, u, jnp.sqrt), GAUSSIAN, X, rows=(1,), bfloat16=KEPT
    ),
    "nn.mlp_apply": case(nn.mlp_apply, LAYERS, X, rows=(1,), bfloat16=KEPT),
    "nn.mlp_init": case(lambda k: nn.mlp_init(k, (3, 4, 2)), KEY, grad=False),
    "nn.sinusoidal_features": case(lambda x: nn.sinusoidal_features(x, 4), X[:, 0], rows=(0,), bfloat16=KEPT),
    "diffusion.augment": case(diffusion.augment, KEY, IMAGES, rows=(1,)),
    "diffusion.cosine_schedule": case(every_method(diffusion.cosine_schedule()), SIGMAS / 4, rows=(0,), bfloat16=KEPT),
    "diffusion.delta_cross_term_score": case(
        diffusion.delta_cross_term_score, POINTS, X, SIGMA, rows=(0, 1), bfloat16=KEPT
    ),
    "diffusion.delta_denoise": case(
        lambda *a: diffusion.delta_denoise(*a, block=5), POINTS, X, SIGMAS, rows=(1, 2), bfloat16=KEPT
    ),
    "diffusion.delta_first_order_score": case(
        diffusion.delta_first_order_score, POINTS, X, SIGMAS, rows=(0, 1, 2), bfloat16=KEPT
    ),
    "diffusion.delta_log_density": case(diffusion.delta_log_density, POINTS, X, SIGMA, rows=(1,), bfloat16=KEPT),
    "diffusion.delta_score": case(diffusion.delta_score, POINTS, X, SIGMA, rows=(0, 1), bfloat16=KEPT),
    "diffusion.denoised_to_noise": case(diffusion.denoised_to_noise, X, Y, SIGMAS, rows=(0, 1, 2), bfloat16=KEPT),
    "diffusion.denoised_to_score": case(diffusion.denoised_to_score, X, Y, SIGMAS, rows=(0, 1, 2), bfloat16=KEPT),
    "diffusion.dpm_solver_v3_statistics": case(
        lambda k, x, lam: diffusion.dpm_solver_v3_statistics(k, shrink, x, lam), KEY, X, array(0.0, 1.0), rows=(1,)
    ),
    "diffusion.edm_denoiser": case(diffusion.edm_denoiser(network), SIGMA, X, SIGMAS, rows=(1, 2), bfloat16=WIDER),
    "diffusion.edm_loss": case(
        lambda k, w, x: diffusion.edm_loss(k, network, w, x), KEY, SIGMA, X, rows=(2,), bfloat16=WIDER
    ),
    "diffusion.edm_preconditioning": case(diffusion.edm_preconditioning, SIGMAS, rows=(0,), bfloat16=WIDER),
    "diffusion.emergence_share": case(diffusion.emergence_share, VARIANCES, SIGMAS, rows=(1,), bfloat16=KEPT),
    "diffusion.emergence_sigma": case(diffusion.emergence_sigma, VARIANCES, bfloat16=KEPT),
    "diffusion.explained_variance": case(diffusion.explained_variance, X, Y, rows=(0, 1), bfloat16=KEPT),
    "diffusion.full_drift_schedule": case(
        every_method(diffusion.full_drift_schedule()), SIGMAS / 4, rows=(0,), bfloat16=KEPT
    ),
    "diffusion.gaussian_denoise": case(diffusion.gaussian_denoise, GAUSSIAN, X, SIGMA, rows=(1,), bfloat16=KEPT),
    "diffusion.gaussian_equivalent_score": case(
        diffusion.gaussian_equivalent_score, GAUSSIAN, POINTS, X, SIGMA, rows=(1, 2), bfloat16=KEPT
    ),
    "diffusion.gaussian_far_field_score": case(
        lambda *a: diffusion.gaussian_far_field_score(*a, order="regularised"),
        GAUSSIAN,
        X,
        SIGMA,
        rows=(1,),
        bfloat16=KEPT,
    ),
    "diffusion.gaussian_score": case(diffusion.gaussian_score, GAUSSIAN, X, SIGMAS, rows=(1, 2), bfloat16=KEPT),
    "diffusion.learning_time": case(diffusion.learning_time, VARIANCES, SIGMA, bfloat16=KEPT),
    "diffusion.linear_denoise": case(
        diffusion.linear_denoise, GAUSSIAN, X, SIGMA, np.array(0.3), rows=(1,), bfloat16=KEPT
    ),
    "diffusion.linear_denoiser_weights": case(
        diffusion.linear_denoiser_weights, VARIANCES, SIGMA, np.array(0.3), bfloat16=KEPT
    ),
    "diffusion.linear_schedule": case(every_method(diffusion.linear_schedule()), SIGMAS / 4, rows=(0,), bfloat16=KEPT),
    "diffusion.mixture_denoise": case(diffusion.mixture_denoise, MIXTURE, X, SIGMA, rows=(1,), bfloat16=KEPT),
    "diffusion.mixture_score": case(
        lambda *a: diffusion.mixture_score(*a, block=1), MIXTURE, X, SIGMAS, rows=(1, 2), bfloat16=KEPT
    ),
    "diffusion.noise_to_denoised": case(diffusion.noise_to_denoised, X, Y, SIGMA, rows=(0, 1), bfloat16=KEPT),
    "diffusion.perturbation_response": case(
        diffusion.perturbation_response, GAUSSIAN, X, SIGMA, rows=(1,), bfloat16=KEPT
    ),
    "diffusion.planar_share": case(diffusion.planar_share, X),
    "diffusion.probability_flow": case(
        diffusion.probability_flow, GAUSSIAN, X, SIGMA, SIGMA / 2, rows=(1,), bfloat16=KEPT
    ),
    "diffusion.probability_flow_denoised": case(
        diffusion.probability_flow_denoised, GAUSSIAN, X, SIGMAS, SIGMAS / 2, rows=(1, 2, 3), bfloat16=KEPT
    ),
    "diffusion.rotation_state": case(diffusion.rotation_state, X, Y, SIGMA, rows=(0, 1), bfloat16=KEPT),
    "diffusion.sample": case(
        lambda x: diffusion.sample(shrink, x, diffusion.heun_plan(GRID)), X, rows=(0,), bfloat16=KEPT
    ),
    "diffusion.score_to_denoised": case(diffusion.score_to_denoised, X, Y, SIGMAS, rows=(0, 1, 2), bfloat16=KEPT),
    "diffusion.teleport": case(
        lambda g, x: diffusion.teleport(g, x, GRID, 1)[0], GAUSSIAN, X, rows=(1,), bfloat16=KEPT
    ),
    "diffusion.unexplained_variance": case(diffusion.unexplained_variance, X, Y, rows=(0, 1), bfloat16=KEPT),
    "diffusion.unexplained_variance_curve": case(
        lambda k, x, s: diffusion.unexplained_variance_curve(
            k, shrink, [lambda y, sigma: 0.5 * y], x, s, batches=2, batch_size=4
        ),
        KEY,
        X,
        SIGMAS,
        bfloat16=KEPT,
    ),
    "diffusion.vp_denoiser": case(
        diffusion.vp_denoiser(lambda x, s: x * jnp.cos(s), diffusion.linear_schedule()),
        X,
        SIGMA,
        rows=(0,),
        bfloat16=KEPT,
    ),
}

HOST = {
    "nn.nnx_functional",
    *(f"diffusion.{name}" for name in ("dpm_solver_plan", "dpm_solver_v3_plan", "heun_plan", "unipc_plan")),
    *(f"diffusion.{name}" for name in ("edm_ema_decay", "edm_optimizer", "edm_sigmas", "log_snr_sigmas")),
    *(f"runtime.{name}" for name in ("axis_key", "make_mesh", "pad_and_shard_rows", "replicate", "shard_rows")),
    *(f"runtime.{name}" for name in ("is_first_process", "job_kind", "join_job")),
    *(f"runtime.{name}" for name in ("catch_sigterm", "make_train_step", "to_host", "train_init")),
    *(f"runtime.{name}" for name in ("data_path", "load", "read_json", "read_metrics", "write_atomic", "write_json")),
}
"""Functions that work on the host, on files or on meshes, or that build something: only their writing is checked."""
