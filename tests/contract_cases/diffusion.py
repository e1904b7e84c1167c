"""Cases of `jaxlib_methods.diffusion`."""

import jax.numpy as jnp
import numpy as np

from contract_cases.case import (
    GAUSSIAN,
    GRID,
    IMAGES,
    KEPT,
    KEY,
    MIXTURE,
    POINTS,
    SIGMA,
    SIGMAS,
    VARIANCES,
    WIDER,
    X,
    Y,
    array,
    case,
)
from jaxlib_methods import diffusion

shrink = lambda x, sigma: x / (1 + sigma**2)
network = lambda w, x, sigma: w * x * jnp.cos(sigma.reshape(-1, 1))


def every_method(schedule):
    return lambda t: (
        schedule.alpha(t),
        schedule.sigma(t),
        schedule.edm_sigma(t),
        schedule.time(schedule.half_log_snr(t)),
    )


CASES = {
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
    *(f"diffusion.{name}" for name in ("dpm_solver_plan", "dpm_solver_v3_plan", "heun_plan", "unipc_plan")),
    *(f"diffusion.{name}" for name in ("edm_ema_decay", "edm_optimizer", "edm_sigmas", "log_snr_sigmas")),
}
