"""Scores, samplers and statistics of `jaxlib_methods.diffusion` beside what people use today.

    python -m experiments bench gaussian_score    # needs the `peers` dependency group; about 7 min on two cores

The training set's score stands beside its two usual forms: PyTorch's matrix form, which holds all batch x points
distances at once, and the broadcast |x_i - y_j|^2 over batch x points x dim, which needs 157 GB for 50,000 images.
A sampler stands beside the same number of calls of its denoiser, a perceptron with EDM preconditioning, in a compiled
loop that does nothing else.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.bench_case import Case
from jaxlib_methods.diffusion import (
    ModelStatistics,
    SamplerPlan,
    delta_score,
    dpm_solver_plan,
    dpm_solver_v3_plan,
    edm_denoiser,
    edm_sigmas,
    heun_plan,
    log_snr_sigmas,
    mixture_denoise,
    sample,
    unipc_plan,
)
from jaxlib_methods.nn import mlp_apply, mlp_init
from jaxlib_methods.numerics import covariance, fit_mixture, moments, moments_merge

CLAIMS = ("network-evaluations-saved", "network-five-skips")

SIGMA = 10.0
GIB = 2**30


def cases() -> Iterator[Case]:
    points = lambda *counts: [{"points": n, "dim": 3072, "batch": 256} for n in counts]
    within = {"peak_bytes": 2 * GIB}
    many, few = points(6_250, 12_500, 25_000, 50_000), points(100, 200, 400, 50_000)
    score = "training-set score"
    yield Case(score, torch_score, many, peer="PyTorch, matrix form", theory=1.0, at_most=within)
    yield Case(score, naive_score, few, peer="numpy, broadcast", theory=1.0, peer_bytes=broadcast_bytes)

    rows = [{"rows": n, "dim": 512} for n in (12_500, 25_000, 50_000, 100_000)]
    yield Case("covariance", numpy_covariance, rows, peer="numpy.cov", theory=1.0)
    components = {"rows": 20_480, "dim": 512, "batch": 2048, "components": 64}
    yield Case("principal directions of a stream", incremental_pca, components, peer="IncrementalPCA")

    networks = [{"dim": dim, "width": width, "batch": 256} for dim, width in ((64, 8192), (3072, 512), (3072, 2048))]
    target = {"overhead": 0.05}
    for name in SAMPLERS:
        yield Case(
            f"{name} sampler", sampler(name), networks, peer="its denoiser in a loop", overhead=True, at_most=target
        )

    mixture = {"batch": 10_000, "dim": 64, "components": 10}
    yield Case("mixture denoiser, component by component", mixture_by_blocks, mixture, peer="all at once")


def score_inputs(points: int, dim: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((points, dim), np.float32), SIGMA * rng.standard_normal((batch, dim), np.float32)


def torch_score(**sizes: int):
    import torch

    points, x = score_inputs(**sizes)
    their_points, their_x = torch.from_numpy(points), torch.from_numpy(x)

    def theirs():
        logits = -(torch.cdist(their_x, their_points) ** 2) / (2 * SIGMA**2)
        return (torch.softmax(logits, 1) @ their_points - their_x) / SIGMA**2

    return our_score(points, x), theirs


def naive_score(**sizes: int):
    points, x = score_inputs(**sizes)

    def theirs():
        logits = -np.sum((x[:, None] - points[None]) ** 2, axis=2) / (2 * SIGMA**2)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return (weights @ points / weights.sum(1, keepdims=True) - x) / SIGMA**2

    return our_score(points, x), theirs


def our_score(points: np.ndarray, x: np.ndarray):
    score = jax.jit(lambda points, x: delta_score(points, x, SIGMA, block=2048))
    on_device = jnp.asarray(points), jnp.asarray(x)
    return lambda: score(*on_device)


def broadcast_bytes(points: int, dim: int, batch: int) -> float:
    return 4 * points * dim * batch


def numpy_covariance(rows: int, dim: int):
    x = np.random.default_rng(0).standard_normal((rows, dim), np.float32)
    ours, on_device = jax.jit(lambda x: covariance(moments(x))), jnp.asarray(x)
    return lambda: ours(on_device), lambda: np.cov(x, rowvar=False, dtype=np.float32)


def incremental_pca(rows: int, dim: int, batch: int, components: int):
    from sklearn.decomposition import IncrementalPCA

    batches = np.random.default_rng(0).standard_normal((rows // batch, batch, dim), np.float32)
    summarise = jax.jit(moments)
    merge = jax.jit(moments_merge)
    directions = jax.jit(lambda m: jnp.linalg.eigh(covariance(m))[1][:, -components:])

    def ours():
        total = summarise(batches[0])
        for batch in batches[1:]:
            total = merge(total, summarise(batch))
        return directions(total)

    def theirs():
        pca = IncrementalPCA(components)
        for batch in batches:
            pca.partial_fit(batch)
        return pca.components_

    return ours, theirs


def v3_plan(dim: int) -> SamplerPlan:
    """Any statistics will do: the work depends on their shape alone."""
    levels = jnp.array([-5.0, 7.0])
    statistics = ModelStatistics(levels, *(jnp.full((2, dim), value) for value in (0.9, 0.1, 0.01)))
    return dpm_solver_v3_plan(statistics, log_snr_sigmas(35), order=3)


SAMPLERS = {
    "Euler": lambda dim: dpm_solver_plan(edm_sigmas(35), order=1),
    "Heun": lambda dim: heun_plan(edm_sigmas(18)),
    "DPM-Solver++(2M)": lambda dim: dpm_solver_plan(edm_sigmas(35), order=2),
    "DPM-Solver++(3M)": lambda dim: dpm_solver_plan(edm_sigmas(35), order=3),
    "UniPC-3": lambda dim: unipc_plan(edm_sigmas(35), order=3),
    "DPM-Solver-v3": v3_plan,
}


def sampler(name: str):
    def build(dim: int, width: int, batch: int):
        params = mlp_init(jax.random.key(0), (dim, width, dim))
        x = jax.random.normal(jax.random.key(1), (batch, dim))
        plan = SAMPLERS[name](dim)
        network = edm_denoiser(lambda params, z, noise: mlp_apply(params, z))
        denoise = lambda z, sigma: network(params, z, sigma)
        solve = jax.jit(lambda x, plan: sample(denoise, x, plan))
        loop = jax.jit(lambda x, times: jax.lax.scan(lambda z, time: (denoise(z, time), None), x, times)[0])
        times = jnp.asarray(plan.times, x.dtype)
        return lambda: solve(x, plan), lambda: loop(x, times)

    return build


def mixture_by_blocks(batch: int, dim: int, components: int):
    digits = 0.1 * np.random.default_rng(0).standard_normal((2000, dim)).astype(np.float32)
    mixture = fit_mixture(jax.random.key(0), jnp.asarray(digits), components)
    z = jax.random.normal(jax.random.key(2), (batch, dim))
    denoise = jax.jit(lambda z, block: mixture_denoise(mixture, z, 1.0, block=block), static_argnums=1)
    return lambda: denoise(z, 1), lambda: denoise(z, None)
