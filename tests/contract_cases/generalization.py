"""Cases of `jaxlib_methods.generalization`."""

import numpy as np

from contract_cases.case import KEY, array, case, normal, positive
from jaxlib_methods import generalization

EIGEN = generalization.Eigenstructure(np.arange(1.0, 7) ** -1.5, positive(6), array(1.0, 1.0, 2.0, 2.0, 3.5, 9.0))
SIMPLE = EIGEN._replace(multiplicity=None)
N, K, DELTA, NOISE = np.array(4.0), np.array(7.0), np.array(0.3), np.array(0.2)
ALPHA, BETA, RATIO = np.array(1.5), np.array(1.3), np.array(0.2)
ROOTS, ROWS, TEST_ROWS = normal(8, 8), normal(8, 12), normal(8, 12)
KERNEL, TARGETS, TEST_TARGETS = ROOTS @ ROOTS.T + np.eye(8), normal(8, 2), normal(8, 2)
SIZES, KAPPAS, ERRORS = array(100.0, 200.0, 400.0, 800.0), positive(2, 4), positive(2, 4)
RIDGES = array(0.1, 2.0)

CASES = {
    "generalization.empirical_eigenstructure": case(generalization.empirical_eigenstructure, KERNEL, TARGETS),
    "generalization.fit_exponents": case(
        lambda k, s, a, b: generalization.fit_exponents(k, s, a, b, resamples=20), KEY, SIZES, KAPPAS, ERRORS
    ),
    "generalization.is_overfitting_obligatory": case(
        generalization.is_overfitting_obligatory, ALPHA, BETA, NOISE, grad=False
    ),
    "generalization.krr_errors": case(generalization.krr_errors, EIGEN, N, DELTA, NOISE),
    "generalization.krr_learning_curve": case(
        lambda k, c, y, t, d: generalization.krr_learning_curve(k, c, y, t, d, sizes=(3, 8)),
        KERNEL,
        ROOTS,
        TARGETS,
        TEST_TARGETS,
        DELTA,
    ),
    "generalization.krr_path_errors": case(
        generalization.krr_path_errors, KERNEL, ROOTS, TARGETS, TEST_TARGETS, RIDGES, rows=(1, 3)
    ),
    "generalization.learnabilities": case(generalization.learnabilities, EIGEN, N, K, DELTA),
    "generalization.optimal_fitting_ratio": case(generalization.optimal_fitting_ratio, ALPHA, BETA, NOISE),
    "generalization.optimal_ridge": case(generalization.optimal_ridge, SIMPLE, N, K, NOISE),
    "generalization.overfitting_noise_threshold": case(generalization.overfitting_noise_threshold, ALPHA, BETA),
    "generalization.pool_corrected": case(generalization.pool_corrected, NOISE, DELTA, N, K),
    "generalization.power_law_eigenstructure": case(
        lambda a, b: generalization.power_law_eigenstructure(a, b, exact=9), ALPHA, BETA
    ),
    "generalization.power_law_errors": case(generalization.power_law_errors, ALPHA, BETA, N, NOISE, RATIO),
    "generalization.power_law_kappa": case(generalization.power_law_kappa, ALPHA, N, RATIO),
    "generalization.rf_curve_errors": case(
        lambda *arguments: generalization.rf_curve_errors(*arguments, array(3, 12)),
        ROWS,
        TEST_ROWS,
        TARGETS,
        TEST_TARGETS,
        RIDGES,
        rows=(1, 3),
    ),
    "generalization.rf_errors": case(generalization.rf_errors, EIGEN, N, K, DELTA, NOISE),
    "generalization.rf_path_errors": case(
        generalization.rf_path_errors, ROWS, TEST_ROWS, TARGETS, TEST_TARGETS, RIDGES, rows=(1, 3)
    ),
    "generalization.rf_solve": case(generalization.rf_solve, EIGEN, N, K, DELTA),
    "generalization.sample_gaussian_task": case(
        lambda k, e, s: generalization.sample_gaussian_task(k, e, 5, 3, s), KEY, SIMPLE, NOISE
    ),
    "generalization.suboptimality_bound": case(generalization.suboptimality_bound, ALPHA, BETA, NOISE, RATIO),
    "generalization.trace_kappa": case(generalization.trace_kappa, KERNEL, DELTA),
}

HOST: set[str] = set()
