"""Shared mathematics that knows no paper: Gaussians, streamed statistics, distances, kernels, ridge regression."""

from jaxlib_methods.numerics.arc_cosine import arc_cosine, arc_cosine_features, arc_cosine_kernel
from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.frechet import (
    frechet_distance,
    frechet_extrapolated,
    kernel_distance,
    sample_frechet_distance,
)
from jaxlib_methods.numerics.gaussian import (
    Gaussian,
    gaussian_covariance,
    gaussian_from_covariance,
    gaussian_log_density,
    gaussian_sample,
    isotropic_gaussian,
    spectral_map,
)
from jaxlib_methods.numerics.gaussian_fit import (
    fit_gaussian,
    fit_gaussian_randomized,
    fit_mixture,
    mixture_from_labels,
)
from jaxlib_methods.numerics.gram import Kernel, gram, gram_product
from jaxlib_methods.numerics.kernel_cg import KernelSolution, kernel_ridge_cg, nystrom_eigh
from jaxlib_methods.numerics.kmeans import Clusters, kmeans, nearest_row
from jaxlib_methods.numerics.krylov import KrylovPath, krylov_ridge_path
from jaxlib_methods.numerics.low_rank import randomized_eigh
from jaxlib_methods.numerics.mixture import (
    GaussianMixture,
    mixture_average,
    mixture_log_density,
    mixture_responsibilities,
    mixture_sample,
)
from jaxlib_methods.numerics.moments import Moments, covariance, moments, moments_merge
from jaxlib_methods.numerics.normal_equations import (
    FeaturePath,
    NormalEquations,
    normal_equations,
    normal_equations_merge,
    normal_equations_path,
    normal_equations_solve,
)
from jaxlib_methods.numerics.padding import pad_rows
from jaxlib_methods.numerics.projections import orthogonal_rows, random_rows
from jaxlib_methods.numerics.psd import in_float64, psd_solve, psd_solve_path
from jaxlib_methods.numerics.psd_sharded import psd_solve_sharded
from jaxlib_methods.numerics.ridge import (
    RidgePath,
    kernel_ridge_fit,
    kernel_ridge_path,
    predict_path,
    ridge_fit,
    ridge_path,
)
from jaxlib_methods.numerics.softmax import SoftmaxPart, softmax_merge, softmax_part, softmax_psum, softmax_result
from jaxlib_methods.numerics.trigonometry import fast_arctan2, fast_cos, fast_sin

__all__ = [
    "Clusters",
    "FeaturePath",
    "Gaussian",
    "GaussianMixture",
    "Kernel",
    "KernelSolution",
    "KrylovPath",
    "Moments",
    "NormalEquations",
    "RidgePath",
    "SoftmaxPart",
    "arc_cosine",
    "arc_cosine_features",
    "arc_cosine_kernel",
    "covariance",
    "fast_arctan2",
    "fast_cos",
    "fast_sin",
    "fit_gaussian",
    "fit_gaussian_randomized",
    "fit_mixture",
    "frechet_distance",
    "frechet_extrapolated",
    "gaussian_covariance",
    "gaussian_from_covariance",
    "gaussian_log_density",
    "gaussian_sample",
    "gram",
    "gram_product",
    "in_float64",
    "isotropic_gaussian",
    "kernel_distance",
    "kernel_ridge_cg",
    "kernel_ridge_fit",
    "kernel_ridge_path",
    "kmeans",
    "krylov_ridge_path",
    "mixture_average",
    "mixture_from_labels",
    "mixture_log_density",
    "mixture_responsibilities",
    "mixture_sample",
    "moments",
    "moments_merge",
    "nearest_row",
    "normal_equations",
    "normal_equations_merge",
    "normal_equations_path",
    "normal_equations_solve",
    "nystrom_eigh",
    "orthogonal_rows",
    "pad_rows",
    "predict_path",
    "psd_solve",
    "psd_solve_path",
    "psd_solve_sharded",
    "random_rows",
    "randomized_eigh",
    "reduce_rows",
    "ridge_fit",
    "ridge_path",
    "sample_frechet_distance",
    "softmax_merge",
    "softmax_part",
    "softmax_psum",
    "softmax_result",
    "spectral_map",
]
