"""Scores, samplers and statistics of `jaxlib_methods.diffusion` beside what people use today.

    python -m experiments bench gaussian_score    # needs the `peers` dependency group; about 45 s on two cores

The naive broadcast |x_i - y_j|^2 of the training-set score needs 157 GB at these sizes, so its peer is the matrix form
in PyTorch. Network times are those of a perceptron whose single evaluation takes a few milliseconds.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.diffusion import delta_score, edm_sigmas, heun_plan, mixture_denoise, sample, unipc_plan
from jaxlib_methods.nn import mlp_apply, mlp_init
from jaxlib_methods.numerics import covariance, fit_mixture, moments


def cases() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Each case is (name, ours, peer, sizes)."""
    import torch
    from sklearn.decomposition import IncrementalPCA

    rng = np.random.default_rng(0)
    points = rng.standard_normal((50_000, 3072), np.float32)
    x = 10 * rng.standard_normal((256, 3072), np.float32)

    ours = jax.jit(lambda points, x: delta_score(points, x, 10.0, block=2048))
    theirs_points, theirs_x = torch.from_numpy(points), torch.from_numpy(x)

    def torch_score():
        logits = -(torch.cdist(theirs_x, theirs_points) ** 2) / 200
        return ((torch.softmax(logits, 1) @ theirs_points - theirs_x) / 100).numpy()

    ours_points, ours_x = jnp.asarray(points), jnp.asarray(x)
    sizes = {"points": 50_000, "dim": 3072, "batch": 256}
    yield "training-set score, peer: PyTorch cdist", lambda: ours(ours_points, ours_x), torch_score, sizes

    second = jax.jit(lambda x: covariance(moments(x)))
    sizes = {"rows": 50_000, "dim": 512}
    rows = ours_points[:, :512]
    host_rows = np.asarray(rows)
    yield "covariance, peer: numpy.cov", lambda: second(rows), lambda: np.cov(host_rows, rowvar=False), sizes
    pca = lambda: IncrementalPCA(64, batch_size=4096).fit(host_rows[:16_384]).components_
    few = rows[:16_384]
    top = jax.jit(lambda x: jnp.linalg.eigh(covariance(moments(x)))[1][:, -64:])
    sizes = {"rows": 16_384, "dim": 512, "components": 64}
    yield "principal directions, peer: IncrementalPCA", lambda: top(few), pca, sizes

    params = mlp_init(jax.random.key(0), (3072, 512, 3072))
    images = jax.random.normal(jax.random.key(1), (256, 3072))
    network = jax.jit(lambda z, sigma: mlp_apply(params, z / (1 + sigma)))
    for name, plan in {"Heun": heun_plan(edm_sigmas(18)), "UniPC-3": unipc_plan(edm_sigmas(35), order=3)}.items():
        solve = jax.jit(lambda z, plan: sample(network, z, plan))

        def only_network(plan=plan):
            z = images
            for time in plan.times:
                z = network(z, time)
            return z

        sizes = {"batch": 256, "dim": 3072, "evaluations": plan.evaluations}
        yield f"{name} sampler, peer: its network alone", lambda s=solve, p=plan: s(images, p), only_network, sizes

    digits = 0.1 * rng.standard_normal((2000, 64)).astype(np.float32)
    mixture = fit_mixture(jax.random.key(0), jnp.asarray(digits), 10)
    z = jax.random.normal(jax.random.key(2), (10_000, 64))
    streamed, at_once = (jax.jit(lambda z, b=b: mixture_denoise(mixture, z, 1.0, block=b)) for b in (1, None))
    sizes = {"batch": 10_000, "dim": 64, "components": 10}
    yield "mixture denoiser by component, peer: all at once", lambda: streamed(z), lambda: at_once(z), sizes
