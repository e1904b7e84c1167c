"""Theories that predict train and test errors before training."""

from jaxlib_methods.generalization.eigenframework import (
    FrameworkState,
    krr_errors,
    learnabilities,
    rf_errors,
    rf_solve,
)
from jaxlib_methods.generalization.eigenstructure import (
    Eigenstructure,
    empirical_eigenstructure,
    pool_corrected,
)
from jaxlib_methods.generalization.exponents import Exponents, fit_exponents, trace_kappa
from jaxlib_methods.generalization.gaussian_ansatz import sample_gaussian_task
from jaxlib_methods.generalization.optimal_ridge import optimal_ridge
from jaxlib_methods.generalization.power_law import (
    is_overfitting_obligatory,
    optimal_fitting_ratio,
    overfitting_noise_threshold,
    power_law_eigenstructure,
    power_law_errors,
    power_law_kappa,
    suboptimality_bound,
)
from jaxlib_methods.generalization.regression_paths import (
    krr_learning_curve,
    krr_path_errors,
    rf_curve_errors,
    rf_path_errors,
)

__all__ = [
    "Eigenstructure",
    "Exponents",
    "FrameworkState",
    "empirical_eigenstructure",
    "fit_exponents",
    "is_overfitting_obligatory",
    "krr_errors",
    "krr_learning_curve",
    "krr_path_errors",
    "learnabilities",
    "optimal_fitting_ratio",
    "optimal_ridge",
    "overfitting_noise_threshold",
    "pool_corrected",
    "power_law_eigenstructure",
    "power_law_errors",
    "power_law_kappa",
    "rf_curve_errors",
    "rf_errors",
    "rf_path_errors",
    "rf_solve",
    "sample_gaussian_task",
    "suboptimality_bound",
    "trace_kappa",
]
