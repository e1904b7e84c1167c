"""Every plan equals the literal loop over its textbook formulas, for both kinds of noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion.sampler_problems import every_family, mixture_denoise, start

from jaxlib_methods.diffusion.dpm_solver import dpm_solver_plan
from jaxlib_methods.diffusion.heun import Churn, heun_plan
from jaxlib_methods.diffusion.noise import edm_sigmas, linear_schedule, log_snr_sigmas, vp_denoiser
from jaxlib_methods.diffusion.plan import sample
from jaxlib_methods.diffusion.unipc import unipc_plan


def dpm_loop(denoise, x, sigmas, alphas, times, order, variant, lower_order_final):
    lam = [np.log(a / s) if s > 0 else np.inf for a, s in zip(alphas, sigmas, strict=True)]
    n, history = len(sigmas) - 1, []
    for i in range(n):
        history.insert(0, denoise(x, times[i]))
        m, alpha, sigma = history, alphas[i + 1], sigmas[i + 1]
        if sigma == 0:
            return alpha * m[0]
        p = min(order, i + 1, n - i if lower_order_final else order)
        h = lam[i + 1] - lam[i]
        phi1 = np.expm1(-h)
        phi2 = phi1 / h + 1
        phi3 = phi2 / h - 0.5
        x = sigma / sigmas[i] * x - alpha * phi1 * m[0]
        if p == 2:
            d1 = (m[0] - m[1]) / ((lam[i] - lam[i - 1]) / h)
            x = x - 0.5 * alpha * phi1 * d1 if variant == "midpoint" else x + alpha * phi2 * d1
        if p == 3:
            r0, r1 = (lam[i] - lam[i - 1]) / h, (lam[i - 1] - lam[i - 2]) / h
            a, b = (m[0] - m[1]) / r0, (m[1] - m[2]) / r1
            d1, d2 = a + r0 / (r0 + r1) * (a - b), (a - b) / (r0 + r1)
            x = x + alpha * phi2 * d1 - alpha * phi3 * (2 if variant == "taylor" else 1) * d2
    return x


def unipc_loop(denoise, x, sigmas, alphas, times, order, variant, lower_order_final):
    lam = [np.log(a / s) if s > 0 else np.inf for a, s in zip(alphas, sigmas, strict=True)]
    n = len(sigmas) - 1
    history = [denoise(x, times[0])]
    for i in range(n):
        m, alpha, sigma = history, alphas[i + 1], sigmas[i + 1]
        if sigma == 0:
            return alpha * m[0]
        p = min(order, i + 1, n - i if lower_order_final else order)
        hh = -(lam[i + 1] - lam[i])
        base = sigma / sigmas[i] * x - alpha * np.expm1(hh) * m[0]
        big = hh if variant == "bh1" else np.expm1(hh)
        rks = [(lam[i - j] - lam[i]) / -hh for j in range(1, p)] + [1.0]
        d1s = [(m[j] - m[0]) / rks[j - 1] for j in range(1, p)]
        rows, right, psi, factorial = [], [], np.expm1(hh) / hh - 1, 1
        for j in range(1, p + 1):
            factorial *= j
            rows.append([r ** (j - 1) for r in rks])
            right.append(psi * factorial / big)
            psi = psi / hh - 1 / (factorial * (j + 1))
        rows, right = np.array(rows), np.array(right)
        rho = [0.5] if p == 2 else np.linalg.solve(rows[: p - 1, : p - 1], right[: p - 1])
        predicted = base - alpha * big * sum(r * d for r, d in zip(rho, d1s, strict=True))
        if i == n - 1:
            return predicted
        new = denoise(predicted, times[i + 1])
        rho = [0.5] if p == 1 else np.linalg.solve(rows, right)
        x = base - alpha * big * sum(r * d for r, d in zip(rho, [*d1s, new - m[0]], strict=True))
        history = [new, *history]
    return x


def heun_loop(denoise, x, sigmas, churn=None, key=None):
    n = len(sigmas) - 1
    evaluations = 2 * n - (sigmas[-1] == 0)
    keys = [None] * evaluations if key is None else jax.random.split(key, evaluations)
    for i in range(n):
        gamma = 0.0
        if churn and churn.minimum <= sigmas[i] <= churn.maximum:
            gamma = min(churn.amount / n, np.sqrt(2) - 1)
        hat = (1 + gamma) * sigmas[i]
        if churn:
            x = x + np.sqrt(hat**2 - sigmas[i] ** 2) * churn.noise * jax.random.normal(keys[2 * i], x.shape, x.dtype)
        d = (x - denoise(x, hat)) / hat
        following = x + (sigmas[i + 1] - hat) * d
        if sigmas[i + 1] > 0:
            d2 = (following - denoise(following, sigmas[i + 1])) / sigmas[i + 1]
            following = x + (sigmas[i + 1] - hat) * (d + d2) / 2
        x = following
    return x


VE_GRIDS = {"edm": edm_sigmas(9), "positive": log_snr_sigmas(7), "uneven": np.array([80.0, 30, 22, 5, 0.7, 0.6, 0.01])}


@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize(
    ("make", "loop", "order", "variant"),
    [(dpm_solver_plan, dpm_loop, p, v) for p in (1, 2, 3) for v in ("midpoint", "taylor")]
    + [(unipc_plan, unipc_loop, p, v) for p in (1, 2, 3) for v in ("bh1", "bh2")],
)
def test_multistep_plans_equal_the_literal_loop(x64, make, loop, order, variant, lower_order_final):
    options = dict(order=order, variant=variant, lower_order_final=lower_order_final)
    for sigmas in VE_GRIDS.values():
        ours = sample(mixture_denoise, start(), make(sigmas, **options))
        truth = loop(mixture_denoise, start(), sigmas, np.ones_like(sigmas), sigmas, **options)
        np.testing.assert_allclose(ours, truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("churn", [None, Churn(20.0, 0.05, 50.0, 1.003), Churn(1.0)])
def test_heun_equals_the_literal_loop(x64, churn):
    key = jax.random.key(3)
    for sigmas in VE_GRIDS.values():
        ours = sample(mixture_denoise, start(), heun_plan(sigmas, churn=churn), key=key)
        truth = heun_loop(mixture_denoise, start(), sigmas, churn, key if churn else None)
        np.testing.assert_allclose(ours, truth, rtol=1e-12, atol=1e-12)


VP = linear_schedule()
VP_TIMES = np.append(np.linspace(1.0, 0.05, 12), 0.0)


@pytest.mark.parametrize(("make", "loop"), [(dpm_solver_plan, dpm_loop), (unipc_plan, unipc_loop)])
def test_vp_plans_equal_the_literal_loop(x64, make, loop):
    options = dict(order=3, variant={dpm_loop: "midpoint", unipc_loop: "bh2"}[loop], lower_order_final=True)
    sigmas, alphas, x = VP.sigma(VP_TIMES), VP.alpha(VP_TIMES), start(scale=1.0)
    denoise = vp_denoiser(mixture_denoise, VP)
    for end in (None, -1):
        grid = (sigmas[:end], alphas[:end], VP_TIMES[:end])
        ours = sample(denoise, x, make(grid[0], alphas=grid[1], times=grid[2], **options))
        truth = loop(denoise, x, *grid[:2], jnp.asarray(grid[2]), **options)
        np.testing.assert_allclose(ours, truth, rtol=1e-12, atol=1e-12)


@every_family
def test_vp_sampling_is_ve_sampling_in_rescaled_coordinates(x64, make):
    sigmas, alphas = VP.sigma(VP_TIMES[:-1]), VP.alpha(VP_TIMES[:-1])
    x = start(scale=1.0)
    plan = make(sigmas, alphas=alphas, times=VP_TIMES[:-1])
    vp = sample(vp_denoiser(mixture_denoise, VP), x, plan)
    ve = sample(mixture_denoise, x / alphas[0], make(sigmas / alphas))
    np.testing.assert_allclose(vp, alphas[-1] * ve, rtol=1e-9, atol=1e-11)
