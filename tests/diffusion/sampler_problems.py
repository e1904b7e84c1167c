"""All samplers, and the laws that they are tried on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.diffusion.dpm_solver import dpm_solver_plan
from jaxlib_methods.diffusion.heun import heun_plan
from jaxlib_methods.diffusion.unipc import unipc_plan

SAMPLERS = {
    "heun": heun_plan,
    "dpm++1": lambda sigmas, **kw: dpm_solver_plan(sigmas, order=1, **kw),
    "dpm++2m": lambda sigmas, **kw: dpm_solver_plan(sigmas, order=2, **kw),
    "dpm++2m-taylor": lambda sigmas, **kw: dpm_solver_plan(sigmas, order=2, variant="taylor", **kw),
    "dpm++3m": lambda sigmas, **kw: dpm_solver_plan(sigmas, order=3, **kw),
    "dpm++3m-taylor": lambda sigmas, **kw: dpm_solver_plan(sigmas, order=3, variant="taylor", **kw),
    "unipc1": lambda sigmas, **kw: unipc_plan(sigmas, order=1, **kw),
    "unipc2-bh1": lambda sigmas, **kw: unipc_plan(sigmas, order=2, **kw),
    "unipc2-bh2": lambda sigmas, **kw: unipc_plan(sigmas, order=2, variant="bh2", **kw),
    "unipc3-bh1": lambda sigmas, **kw: unipc_plan(sigmas, order=3, **kw),
    "unipc3-bh2": lambda sigmas, **kw: unipc_plan(sigmas, order=3, variant="bh2", **kw),
}
every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
FAMILIES = {name: SAMPLERS[name] for name in ("heun", "dpm++3m", "unipc3-bh2")}
every_family = pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)

MEANS = np.array([[1.0, 0.5, -0.5, 0.2], [-0.8, 0.9, 0.4, -0.3], [0.1, -1.0, 0.6, 0.7]])
VARIANCES = np.array([0.3, 0.2, 0.15])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def mixture_denoise(x, sigma):
    """Posterior mean of a mixture of three isotropic Gaussians, x (b, 4), sigma scalar."""
    means, variances, weights = (jnp.asarray(a, x.dtype) for a in (MEANS, VARIANCES, WEIGHTS))
    total = variances + sigma**2
    gap = means[None] - x[:, None]
    logits = (jnp.log(weights) - 2 * jnp.log(total))[None] - jnp.sum(gap**2, -1) / (2 * total)[None]
    component = x[:, None] + (sigma**2 / total)[None, :, None] * gap
    return jnp.sum(jax.nn.softmax(logits)[:, :, None] * component, 1)


def start(n=16, scale=80.0, dtype=None):
    return scale * jax.random.normal(jax.random.key(0), (n, 4), dtype)


def gaussian(mean, variance):
    return lambda x, sigma: mean + variance / (variance + sigma**2) * (x - mean)
