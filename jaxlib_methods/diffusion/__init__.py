"""Diffusion models whose scores are known: analytic scores and trajectories, samplers, teleportation, EDM training."""

from jaxlib_methods.diffusion.augment import NUM_LABELS, augment
from jaxlib_methods.diffusion.dpm_solver import dpm_solver_plan
from jaxlib_methods.diffusion.dpm_solver_v3 import ModelStatistics, dpm_solver_v3_plan, dpm_solver_v3_statistics
from jaxlib_methods.diffusion.edm import (
    Preconditioning,
    edm_denoiser,
    edm_ema_decay,
    edm_loss,
    edm_optimizer,
    edm_preconditioning,
)
from jaxlib_methods.diffusion.explained_variance import (
    PROBE_SIGMAS,
    explained_variance,
    unexplained_variance,
    unexplained_variance_curve,
)
from jaxlib_methods.diffusion.far_field import (
    delta_cross_term_score,
    delta_first_order_score,
    gaussian_equivalent_score,
    gaussian_far_field_score,
)
from jaxlib_methods.diffusion.heun import Churn, heun_plan
from jaxlib_methods.diffusion.learning_order import learning_time, linear_denoise, linear_denoiser_weights
from jaxlib_methods.diffusion.noise import (
    Schedule,
    cosine_schedule,
    denoised_to_noise,
    denoised_to_score,
    edm_sigmas,
    full_drift_schedule,
    linear_schedule,
    log_snr_sigmas,
    noise_to_denoised,
    score_to_denoised,
    vp_denoiser,
)
from jaxlib_methods.diffusion.plan import SamplerPlan, sample
from jaxlib_methods.diffusion.scores import (
    delta_denoise,
    delta_log_density,
    delta_score,
    gaussian_denoise,
    gaussian_score,
    mixture_denoise,
    mixture_score,
)
from jaxlib_methods.diffusion.teleport import teleport
from jaxlib_methods.diffusion.trajectory import (
    emergence_share,
    emergence_sigma,
    perturbation_response,
    planar_share,
    probability_flow,
    probability_flow_denoised,
    rotation_state,
)
from jaxlib_methods.diffusion.unipc import unipc_plan

__all__ = [
    "NUM_LABELS",
    "PROBE_SIGMAS",
    "Churn",
    "ModelStatistics",
    "Preconditioning",
    "SamplerPlan",
    "Schedule",
    "augment",
    "cosine_schedule",
    "delta_cross_term_score",
    "delta_denoise",
    "delta_first_order_score",
    "delta_log_density",
    "delta_score",
    "denoised_to_noise",
    "denoised_to_score",
    "dpm_solver_plan",
    "dpm_solver_v3_plan",
    "dpm_solver_v3_statistics",
    "edm_denoiser",
    "edm_ema_decay",
    "edm_loss",
    "edm_optimizer",
    "edm_preconditioning",
    "edm_sigmas",
    "emergence_share",
    "emergence_sigma",
    "explained_variance",
    "full_drift_schedule",
    "gaussian_denoise",
    "gaussian_equivalent_score",
    "gaussian_far_field_score",
    "gaussian_score",
    "heun_plan",
    "learning_time",
    "linear_denoise",
    "linear_denoiser_weights",
    "linear_schedule",
    "log_snr_sigmas",
    "mixture_denoise",
    "mixture_score",
    "noise_to_denoised",
    "perturbation_response",
    "planar_share",
    "probability_flow",
    "probability_flow_denoised",
    "rotation_state",
    "sample",
    "score_to_denoised",
    "teleport",
    "unexplained_variance",
    "unexplained_variance_curve",
    "unipc_plan",
    "vp_denoiser",
]
