"""Cases of `jaxlib_methods.numerics`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec as P

from contract_cases.case import (
    COVARIANCE,
    GAUSSIAN,
    KEPT,
    KEY,
    LABELS,
    MIXTURE,
    MOMENTS,
    OTHER_COVARIANCE,
    PART,
    POINTS,
    SIGMA,
    SIGMAS,
    WIDER,
    X,
    Y,
    array,
    case,
    normal,
)
from jaxlib_methods import numerics


def joined_on_one_device(part):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    join = lambda p: numerics.softmax_result(numerics.softmax_psum(p, "i"))
    return jax.shard_map(join, mesh=mesh, in_specs=P(), out_specs=P())(part)


def solved_on_one_device(a, b):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    return numerics.psd_solve_sharded((a + a.T) / 2, b, 0.5, mesh=mesh)


def gaussian_kernel(a, b):
    return jnp.exp(-jnp.sum((a[:, None] - b[None]) ** 2, -1) / 4)


CASES = {
    "numerics.arc_cosine": case(numerics.arc_cosine, np.sin(X), bfloat16=KEPT),
    "numerics.arc_cosine_features": case(
        lambda k, x: numerics.arc_cosine_features(k, x, 5), KEY, X, rows=(1,), bfloat16=KEPT
    ),
    "numerics.arc_cosine_kernel": case(numerics.arc_cosine_kernel, X, POINTS, rows=(0,), bfloat16=KEPT),
    "numerics.covariance": case(numerics.covariance, MOMENTS, bfloat16=KEPT),
    "numerics.fast_arctan2": case(numerics.fast_arctan2, X, 1 + X**2, bfloat16=KEPT),
    "numerics.fast_cos": case(numerics.fast_cos, X, bfloat16=KEPT),
    "numerics.fast_sin": case(numerics.fast_sin, X, bfloat16=KEPT),
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
    "numerics.gram": case(lambda x: numerics.gram(gaussian_kernel, x, block=3), X, rows=(0,), bfloat16=KEPT),
    "numerics.gram_product": case(
        lambda x, v, y: numerics.gram_product(gaussian_kernel, x, v, y, block=3),
        X,
        POINTS,
        POINTS,
        rows=(0, 1, 2),
        bfloat16=KEPT,
    ),
    "numerics.isotropic_gaussian": case(numerics.isotropic_gaussian, GAUSSIAN, bfloat16=KEPT),
    "numerics.kernel_distance": case(
        lambda x, y: numerics.kernel_distance(x, y, block=3), X, POINTS, rows=(0, 1), bfloat16=KEPT
    ),
    "numerics.kmeans": case(lambda k, x: numerics.kmeans(k, x, 2), KEY, POINTS, rows=(1,), grad=False),
    "numerics.krylov_ridge_path": case(
        lambda x, y, r: numerics.krylov_ridge_path(lambda v: x @ (x.T @ v), y, 1 + r, steps=3, tolerance=1e-11),
        X,
        Y,
        SIGMAS,
        rows=(0, 1),
    ),
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
    "numerics.orthogonal_rows": case(lambda k: numerics.orthogonal_rows(k, 5, 3, dtype=jnp.float64), KEY, grad=False),
    "numerics.pad_rows": case(lambda x: numerics.pad_rows(x, 5), X, rows=(0,), bfloat16=KEPT),
    "numerics.random_rows": case(
        lambda k: numerics.random_rows(k, 5, 3, law="ball", dtype=jnp.float64), KEY, grad=False
    ),
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
}

RIDGES, FEATURES = array(0.5, 0.0, 2.0), normal(8, 5)
PSD = FEATURES.T @ FEATURES
GRAM = np.exp(-((X[:, None] - X[None]) ** 2).sum(-1) / 4)
CASES |= {
    "numerics.in_float64": case(lambda x: numerics.in_float64(jnp.sin, True, x), X, rows=(0,), bfloat16=WIDER),
    "numerics.psd_solve": case(lambda a, b: numerics.psd_solve(a, b, 0.5), PSD, normal(5, 2)),
    "numerics.psd_solve_path": case(numerics.psd_solve_path, PSD, normal(5), RIDGES),
    "numerics.psd_solve_sharded": case(solved_on_one_device, PSD, normal(5, 2)),
    "numerics.kernel_ridge_fit": case(numerics.kernel_ridge_fit, GRAM, Y, SIGMA, SIGMAS),
    "numerics.kernel_ridge_path": case(numerics.kernel_ridge_path, GRAM, Y, RIDGES, SIGMAS),
    "numerics.predict_path": case(numerics.predict_path, X, normal(2, 3), rows=(0,), bfloat16=KEPT),
    "numerics.ridge_fit": case(numerics.ridge_fit, FEATURES, Y, SIGMA, SIGMAS, rows=(0, 1, 3)),
    "numerics.ridge_path": case(numerics.ridge_path, FEATURES, Y, RIDGES, SIGMAS, rows=(0, 1, 3)),
}

SUMS = numerics.NormalEquations(PSD, normal(5, 2), np.array(40.0), np.array(8.0))
CASES |= {
    "numerics.kernel_ridge_cg": case(
        lambda k, x, y, r, w: numerics.kernel_ridge_cg(
            k, gaussian_kernel, x, y, r, w, rank=4, block=3, tolerance=1e-12
        ),
        KEY,
        X,
        Y,
        SIGMA,
        SIGMAS,
        rows=(1, 2, 4),
    ),
    "numerics.normal_equations": case(
        lambda x, y, w: numerics.normal_equations(jnp.sin, x, y, w, block=3),
        X,
        Y,
        SIGMAS,
        rows=(0, 1, 2),
        bfloat16=WIDER,
    ),
    "numerics.normal_equations_merge": case(numerics.normal_equations_merge, SUMS, SUMS, bfloat16=KEPT),
    "numerics.normal_equations_path": case(numerics.normal_equations_path, SUMS, RIDGES),
    "numerics.normal_equations_solve": case(lambda s: numerics.normal_equations_solve(s, 0.5), SUMS),
    "numerics.nystrom_eigh": case(
        lambda k, x: numerics.nystrom_eigh(k, gaussian_kernel, x, 4, block=3)[1], KEY, X, rows=(1,)
    ),
}

HOST: set[str] = set()
