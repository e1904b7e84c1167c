"""One small call of every public function: what the contract tests walk. A new public function needs a line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods import diffusion, nn, numerics

KEY = jax.random.key(0)
D, R, B, K, N = 4, 2, 8, 3, 16


class Case(NamedTuple):
    """`call(function, *arrays)`, and which of the contracts hold beyond jit, dtype and no retrace.

    vmap: over a leading axis of all arrays. grad: differentiable in all arrays. rows: arrays that may be sharded by
    rows. random: draws other numbers in double precision than in single.
    """

    call: Callable[..., Any]
    arrays: tuple
    vmap: bool = True
    grad: bool = True
    rows: tuple[int, ...] = ()
    random: bool = False


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def orthonormal(*batch):
    return np.linalg.qr(draw(*batch, D, R))[0]


GAUSSIAN = numerics.Gaussian(draw(D, seed=1), orthonormal(), np.array([2.0, 0.5]), np.array(0.3))
PARTS = numerics.Gaussian(draw(K, D, seed=2), orthonormal(K), 1 + draw(K, R) ** 2, np.full(K, 0.3))
MIXTURE = numerics.GaussianMixture(np.full(K, 1 / K), PARTS)
COVARIANCE = np.cov(draw(N, D).T)
MOMENTS = numerics.Moments(np.array(5.0), draw(D), COVARIANCE)
PART = numerics.SoftmaxPart(draw(B), 1 + draw(B) ** 2, draw(B, D))
X, POINTS, SIGMA = draw(B, D), draw(N, D, seed=3), np.array(0.7)
LAYERS = tuple(nn.Dense(draw(i, o), draw(o)) for i, o in ((D, 6), (6, D)))
IMAGES = draw(B, 5, 5, 1)
GRID = np.array([3.0, 1.0, 0.4, 0.0])
PLAN = diffusion.unipc_plan(GRID, order=2)
SHRINK = lambda x, sigma: x / (1 + sigma**2)
LAM = np.array([2.0, 0.5])


def plain(function, *arrays):
    return function(*arrays)


def keyed(function, *arrays):
    return function(KEY, *arrays)


def softmax_merge(function, logits, values):
    halves = [numerics.softmax_part(logits[:, half], values[half]) for half in (slice(0, 5), slice(5, N))]
    return numerics.softmax_result(function(*halves))


def softmax_psum(function, logits, values):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    local = lambda l, v: numerics.softmax_result(function(numerics.softmax_part(l, v), "data"))
    specs = (jax.P(None, "data"), jax.P("data"))
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=jax.P())(logits, values)


NUMERICS = {
    "covariance": Case(plain, (MOMENTS,)),
    "fit_gaussian": Case(plain, (POINTS,), grad=False, rows=(0,)),
    "fit_gaussian_randomized": Case(lambda f, x: f(KEY, x, 2), (POINTS,), grad=False, rows=(0,)),
    "fit_mixture": Case(lambda f, x: f(KEY, x, 2), (POINTS,), grad=False),
    "frechet_distance": Case(plain, (draw(D), COVARIANCE, draw(D, seed=5), COVARIANCE + np.eye(D))),
    "frechet_extrapolated": Case(plain, (draw(32, D), 2 * draw(32, D, seed=4))),
    "gaussian_covariance": Case(plain, (GAUSSIAN,)),
    "gaussian_from_covariance": Case(plain, (draw(D), COVARIANCE), grad=False),
    "gaussian_log_density": Case(lambda f, g, x, s: f(g, x, noise=s**2), (GAUSSIAN, X, SIGMA), rows=(1,)),
    "gaussian_sample": Case(lambda f, g: f(KEY, g, B), (GAUSSIAN,), random=True),
    "isotropic_gaussian": Case(plain, (GAUSSIAN,)),
    "kernel_distance": Case(plain, (POINTS, draw(N, D)), rows=(0, 1)),
    "kmeans": Case(lambda f, x: f(KEY, x, 3), (POINTS,), grad=False),
    "mixture_average": Case(
        lambda f, m, x: f(lambda g: g.mean[None], m, x, noise=0.5, block=2), (MIXTURE, X), rows=(1,)
    ),
    "mixture_from_labels": Case(lambda f, x: f(x, jnp.arange(N) % K, K), (POINTS,), grad=False),
    "mixture_log_density": Case(plain, (MIXTURE, X), rows=(1,)),
    "mixture_responsibilities": Case(plain, (MIXTURE, X), rows=(1,)),
    "mixture_sample": Case(lambda f, m: f(KEY, m, B), (MIXTURE,), random=True),
    "moments": Case(lambda f, x: f(x, block=5), (POINTS,), rows=(0,)),
    "moments_merge": Case(plain, (MOMENTS, MOMENTS)),
    "nearest_row": Case(plain, (POINTS, draw(K, D)), grad=False, rows=(0,)),
    "pad_rows": Case(lambda f, x: f(x, 5), (POINTS,)),
    "randomized_eigh": Case(lambda f, a: f(KEY, lambda q: a @ q, D, 2, dtype=a.dtype)[0], (COVARIANCE,), grad=False),
    "reduce_rows": Case(lambda f, x: f(lambda r: jnp.sum(r**2), jnp.add, x, block=5), (POINTS,), rows=(0,)),
    "sample_frechet_distance": Case(plain, (POINTS, 2 * draw(N, D)), rows=(0, 1)),
    "softmax_merge": Case(softmax_merge, (draw(B, N), POINTS)),
    "softmax_part": Case(lambda f, l, v: numerics.softmax_result(f(l, v)), (draw(B, N), POINTS), rows=(0,)),
    "softmax_psum": Case(softmax_psum, (draw(B, N), POINTS)),
    "softmax_result": Case(plain, (PART,)),
    "spectral_map": Case(lambda f, g, x: f(g, x, jnp.sqrt), (GAUSSIAN, X), rows=(1,)),
}
NN = {
    "mlp_apply": Case(plain, (LAYERS, X), rows=(1,)),
    "mlp_init": Case(lambda f, x: f(KEY, (D, 3))[0].weight * x, (np.array(1.0),), random=True),
    "nnx_functional": Case(lambda f, x: _nnx_linear(f, x), (X,), vmap=False, rows=(0,)),
    "sinusoidal_features": Case(lambda f, x: f(x, 6), (draw(B),), rows=(0,)),
}


def _nnx_linear(function, x):
    from flax import nnx

    apply, params, rest = function(nnx.Linear(D, 2, rngs=nnx.Rngs(0)))
    return apply(jax.tree.map(lambda a: a.astype(x.dtype), params), rest, x)[0].astype(x.dtype)


def score(points=False):
    return Case(plain, ((POINTS, X, SIGMA) if points else (GAUSSIAN, X, SIGMA)), rows=(1,))


def host(call):
    """Builders of host tables: called outside of all transformations, no array goes in."""
    return Case(lambda f, x: x * float(np.sum(jax.tree.leaves(call(f))[0])), (np.array(1.0),))


STATISTICS = diffusion.ModelStatistics(np.array([-2.0, 0.0, 2.0]), np.ones((3, D)), np.zeros((3, D)), np.zeros((3, D)))
DIFFUSION = {
    "augment": Case(keyed, (IMAGES,), grad=False, rows=(0,)),
    "cosine_schedule": host(lambda f: f().alpha(np.array(0.5))),
    "delta_cross_term_score": score(points=True),
    "delta_denoise": score(points=True),
    "delta_first_order_score": score(points=True),
    "delta_log_density": score(points=True),
    "delta_score": score(points=True),
    "denoised_to_noise": Case(plain, (X, 2 * X, SIGMA), rows=(0, 1)),
    "denoised_to_score": Case(plain, (X, 2 * X, SIGMA), rows=(0, 1)),
    "dpm_solver_plan": host(lambda f: f(GRID, order=2)),
    "dpm_solver_v3_plan": host(lambda f: f(STATISTICS, GRID, order=2)),
    "dpm_solver_v3_statistics": Case(
        lambda f, x: f(KEY, SHRINK, x, jnp.array([-1.0, 0.0, 1.0])), (X,), grad=False, rows=(0,)
    ),
    "edm_denoiser": Case(lambda f, x, s: f(lambda p, z, c: p * z)(0.5, x, s), (X, SIGMA), rows=(0,)),
    "edm_ema_decay": Case(lambda f, x: x * f(5)(jnp.int32(3)).astype(x.dtype), (np.array(1.0),)),
    "edm_loss": Case(lambda f, x: f(KEY, lambda p, z, s: p * z, 0.5, x), (X,), rows=(0,), random=True),
    "edm_optimizer": Case(
        lambda f, x: f(warmup_steps=2).update({"w": x}, f(warmup_steps=2).init({"w": x}), {"w": x})[0], (X,), grad=False
    ),
    "edm_preconditioning": Case(plain, (1 + draw(B) ** 2,)),
    "edm_sigmas": host(lambda f: f(5)),
    "emergence_share": Case(plain, (LAM, SIGMA)),
    "emergence_sigma": Case(plain, (LAM,)),
    "explained_variance": Case(plain, (X, 2 * X), rows=(0, 1)),
    "full_drift_schedule": host(lambda f: f().alpha(np.array(0.001))),
    "gaussian_denoise": score(),
    "gaussian_equivalent_score": Case(plain, (GAUSSIAN, POINTS, X, SIGMA), rows=(2,)),
    "gaussian_far_field_score": score(),
    "gaussian_score": score(),
    "heun_plan": host(lambda f: f(GRID)),
    "learning_time": Case(plain, (LAM, SIGMA)),
    "linear_denoise": Case(lambda f, g, x, s: f(g, x, s, 0.3), (GAUSSIAN, X, SIGMA), rows=(1,)),
    "linear_denoiser_weights": Case(lambda f, v, s: f(v, s, 0.3), (LAM, SIGMA)),
    "linear_schedule": host(lambda f: f().alpha(np.array(0.5))),
    "log_snr_sigmas": host(lambda f: f(5)),
    "mixture_denoise": Case(plain, (MIXTURE, X, SIGMA), rows=(1,)),
    "mixture_score": Case(lambda f, m, x, s: f(m, x, s, block=2), (MIXTURE, X, SIGMA), rows=(1,)),
    "noise_to_denoised": Case(plain, (X, 2 * X, SIGMA), rows=(0, 1)),
    "perturbation_response": score(),
    "planar_share": Case(plain, (draw(6, D),)),
    "probability_flow": Case(lambda f, g, x, s: f(g, x, s, 0.1), (GAUSSIAN, X, SIGMA), rows=(1,)),
    "probability_flow_denoised": Case(lambda f, g, x, s: f(g, x, s, 0.1), (GAUSSIAN, X, SIGMA), rows=(1,)),
    "rotation_state": Case(lambda f, d, x: f(d, x, 0.6), (X, 2 * X), rows=(0, 1)),
    "sample": Case(lambda f, x: f(SHRINK, x, PLAN), (X,), rows=(0,)),
    "score_to_denoised": Case(plain, (X, 2 * X, SIGMA), rows=(0, 1)),
    "teleport": Case(lambda f, g, x: f(g, x, GRID, 1)[0], (GAUSSIAN, X), rows=(1,)),
    "unexplained_variance": Case(plain, (X, 2 * X), rows=(0, 1)),
    "unexplained_variance_curve": Case(
        lambda f, x: f(KEY, SHRINK, [lambda z, s: 0.3 * z], x, jnp.array([0.5, 2.0]), batches=2, batch_size=4),
        (X,),
        random=True,
    ),
    "unipc_plan": host(lambda f: f(GRID, order=3)),
    "vp_denoiser": Case(
        lambda f, x: f(SHRINK, diffusion.linear_schedule())(x, jnp.asarray(0.5, x.dtype)), (X,), rows=(0,)
    ),
}
CASES = {
    f"{group}.{name}": case
    for group, cases in (("numerics", NUMERICS), ("nn", NN), ("diffusion", DIFFUSION))
    for name, case in cases.items()
}
