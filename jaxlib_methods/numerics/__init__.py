"""Shared mathematics that knows no paper: Gaussians and mixtures, streamed statistics, distances, clustering."""

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
from jaxlib_methods.numerics.kmeans import Clusters, kmeans, nearest_row
from jaxlib_methods.numerics.low_rank import randomized_eigh
from jaxlib_methods.numerics.mixture import (
    GaussianMixture,
    mixture_average,
    mixture_log_density,
    mixture_responsibilities,
    mixture_sample,
)
from jaxlib_methods.numerics.moments import Moments, covariance, moments, moments_merge
from jaxlib_methods.numerics.padding import pad_rows
from jaxlib_methods.numerics.softmax import SoftmaxPart, softmax_merge, softmax_part, softmax_psum, softmax_result

__all__ = [
    "Clusters",
    "Gaussian",
    "GaussianMixture",
    "Moments",
    "SoftmaxPart",
    "covariance",
    "fit_gaussian",
    "fit_gaussian_randomized",
    "fit_mixture",
    "frechet_distance",
    "frechet_extrapolated",
    "gaussian_covariance",
    "gaussian_from_covariance",
    "gaussian_log_density",
    "gaussian_sample",
    "isotropic_gaussian",
    "kernel_distance",
    "kmeans",
    "mixture_average",
    "mixture_from_labels",
    "mixture_log_density",
    "mixture_responsibilities",
    "mixture_sample",
    "moments",
    "moments_merge",
    "nearest_row",
    "pad_rows",
    "randomized_eigh",
    "reduce_rows",
    "sample_frechet_distance",
    "softmax_merge",
    "softmax_part",
    "softmax_psum",
    "softmax_result",
    "spectral_map",
]
