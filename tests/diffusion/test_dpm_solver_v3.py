"""Oracles: DPM-Solver++ as a special case, exact steps on Gaussians, a literal loop, known statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.diffusion.dpm_solver import dpm_solver_plan
from jaxlib_methods.diffusion.dpm_solver_v3 import ModelStatistics, dpm_solver_v3_plan, dpm_solver_v3_statistics
from jaxlib_methods.diffusion.noise import edm_sigmas, linear_schedule, log_snr_sigmas, vp_denoiser
from jaxlib_methods.diffusion.plan import sample

MEANS = np.array([[1.0, 0.5, -0.5], [-0.8, 0.9, 0.4], [0.1, -1.0, 0.6]])
VARIANCE = 0.2


def mixture_denoise(x, sigma):
    """Posterior mean of three equal isotropic Gaussians, x (b, 3), sigma scalar."""
    gap = jnp.asarray(MEANS, x.dtype)[None] - x[:, None]
    weights = jax.nn.softmax(-jnp.sum(gap**2, -1) / (2 * (VARIANCE + sigma**2)))
    return x + sigma**2 / (VARIANCE + sigma**2) * jnp.sum(weights[:, :, None] * gap, 1)


def start(n=16, scale=80.0):
    return scale * jax.random.normal(jax.random.key(0), (n, 3))


def fine_lambdas(n, minimum=0.002, maximum=80.0):
    return np.linspace(-np.log(maximum), -np.log(minimum), n)


def wavy_statistics(n):
    """Arbitrary smooth l, s, b: legitimate for any model; near the limits l = 1, s = b = 0 at high noise."""
    lambdas = fine_lambdas(n)
    gain = 1 / (1 + np.array([0.5, 1.0, 2.0])[None] * np.exp(-2 * lambdas)[:, None])
    wave = lambda shift: gain * np.sin(lambdas[:, None] + shift + np.arange(3)[None])
    return ModelStatistics(lambdas, 1 - gain + 0.2 * wave(0.0), 0.2 * wave(1.0), 0.4 * wave(2.0))


def on_levels(statistics, places):
    return np.exp(-np.asarray(statistics.lambdas)[np.asarray(places)])


# --- Plans ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("sigmas", [edm_sigmas(8), log_snr_sigmas(6)], ids=["to-zero", "positive"])
def test_trivial_statistics_give_the_taylor_form_of_dpm_solver(x64, order, sigmas):
    lambdas = fine_lambdas(20000)
    ones = np.ones((len(lambdas), 3))
    plan = dpm_solver_v3_plan(ModelStatistics(lambdas, ones, 0 * ones, 0 * ones), sigmas, order=order)
    truth = sample(mixture_denoise, start(), dpm_solver_plan(sigmas, order=order, variant="taylor"))
    np.testing.assert_allclose(sample(mixture_denoise, start(), plan), truth, atol=1e-6)


def gaussian_statistics(mean, variances, n):
    """l = sigma^2 / (v + sigma^2); f = -l mean does not vary, so s = 0 and b = E f' = -l' mean = 2 l (1 - l) mean."""
    lambdas = fine_lambdas(n)
    noise = np.exp(-2 * lambdas)[:, None]
    l = noise / (variances[None] + noise)
    return ModelStatistics(lambdas, l, 0 * l, 2 * l * (1 - l) * mean[None])


@pytest.mark.parametrize(("mean", "error"), [([0.0, 0.0, 0.0], 1e-9), ([0.5, -1.0, 2.0], 1e-6)])
def test_one_step_is_exact_on_a_gaussian_in_its_principal_axes(x64, mean, error):
    mean, variances = np.array(mean), np.array([1.0, 0.3, 0.01])
    denoise = lambda x, sigma: mean[None] + (variances / (variances + sigma**2))[None] * (x - mean[None])
    plan = dpm_solver_v3_plan(gaussian_statistics(mean, variances, 20000), [80.0, 0.002], order=1)
    factors = np.sqrt((variances + 0.002**2) / (variances + 80.0**2))
    truth = mean[None] + factors[None] * (start() - mean[None])
    assert jnp.abs(sample(denoise, start(), plan) - truth).max() < error


def cumulative(nodes, values):
    cells = np.diff(nodes)[:, None] * (values[1:] + values[:-1]) / 2
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(cells, 0)])


def literal_loop(denoise, x, statistics, places, order, corrector, pseudo):
    """The published formulas with global integrals L, S, B, I, C; alpha = 1; places index the fine levels."""
    lam, l, s, b = statistics
    L, S = cumulative(lam, l), cumulative(lam, s)
    B = cumulative(lam, np.exp(-S) * b)
    shift = (L + S).max(0)
    weight = np.exp(L + S - shift)
    integral_I, integral_C = cumulative(lam, weight), cumulative(lam, weight * B)
    f_at = lambda i, x: (1 - l[i])[None] * x - denoise(x, np.exp(-lam[i]))

    def step(x, points, values, t):
        a = points[0]
        factor = np.exp(shift - L[t] - S[a])
        g = [
            np.exp(S[a] - S[j])[None] * f - (np.exp(S[a]) * (B[j] - B[a]))[None]
            for j, f in zip(points, values, strict=True)
        ]
        gain, drift = integral_I[t] - integral_I[a], integral_C[t] - integral_C[a]
        result = np.exp(L[a] - L[t])[None] * x - (factor * gain)[None] * g[0]
        result = result - (np.exp(shift - L[t]) * (drift - B[a] * gain))[None]
        delta = [lam[j] - lam[a] for j in points]
        if len(points) == 1:
            derivatives = []
        elif len(points) == 2:
            derivatives = [(g[1] - g[0]) / delta[1]]
        elif pseudo:
            first, second = (g[1] - g[0]) / delta[1], (g[2] - g[1]) / (delta[2] - delta[1])
            derivatives = [first, 2 * (second - first) / delta[2]]
        else:
            system = np.array([[d ** (k + 1) / (1 if k == 0 else k + 1) for k in range(len(g) - 1)] for d in delta[1:]])
            if len(points) == 4:
                system[:, 2] /= 2
            solved = np.linalg.solve(system, np.stack([v - g[0] for v in g[1:]]).reshape(len(g) - 1, -1))
            derivatives = list(solved.reshape(len(g) - 1, *x.shape))
        factorial = 1
        for k, derivative in enumerate(derivatives, start=1):
            factorial *= k
            ramp = (lam[a : t + 1] - lam[a]) ** k / factorial
            inside = np.exp(L[a : t + 1] + S[a : t + 1] - L[a] - S[a]) * ramp[:, None]
            result = result - (np.exp(L[a] - L[t]) * cumulative(lam[a : t + 1], inside)[-1])[None] * derivative
        return result

    n, known, values = len(places) - 1, [places[0]], [f_at(places[0], x)]
    for i in range(n):
        p = min(order, i + 1, n - i)
        predicted = step(x, known[:p], values[:p], places[i + 1])
        if i == n - 1:
            return predicted
        new = f_at(places[i + 1], predicted)
        if corrector:
            points, functions = [known[0], places[i + 1], *known[1:p]], [values[0], new, *values[1:p]]
            predicted = step(x, points, functions, places[i + 1])
        x, known, values = predicted, [places[i + 1], *known], [new, *values]
    return x


@pytest.mark.parametrize(
    ("order", "corrector", "pseudo"),
    [
        (1, False, False),
        (2, False, False),
        (3, False, False),
        (3, False, True),
        (1, True, False),
        (2, True, False),
        (2, True, True),
        (3, True, False),
    ],
)
def test_plans_equal_the_literal_loop(x64, order, corrector, pseudo):
    statistics, places = wavy_statistics(300), [0, 40, 61, 130, 200, 222, 299]
    options = dict(order=order, corrector=corrector, pseudo=pseudo)
    ours = sample(mixture_denoise, start(), dpm_solver_v3_plan(statistics, on_levels(statistics, places), **options))
    truth = literal_loop(mixture_denoise, np.asarray(start()), statistics, places, **options)
    np.testing.assert_allclose(ours, truth, rtol=1e-10, atol=1e-10)


def test_pseudo_differs_from_the_full_derivatives_only_from_three_points_on(x64):
    statistics, sigmas = wavy_statistics(300), log_snr_sigmas(6)
    gap = lambda order: np.abs(
        dpm_solver_v3_plan(statistics, sigmas, order=order).table
        - dpm_solver_v3_plan(statistics, sigmas, order=order, pseudo=True).table
    ).max()
    assert gap(2) < 1e-12
    assert gap(3) > 1e-3


@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_any_smooth_statistics_converge_with_the_order_of_the_plan_and_one_more_if_corrected(x64, order, corrector):
    statistics, x, steps = wavy_statistics(20000), start(), [40, 80, 160]
    truth = sample(mixture_denoise, x, dpm_solver_plan(log_snr_sigmas(1280), order=3, variant="taylor"))
    options = dict(order=order, corrector=corrector, lower_order_final=False)
    plans = [dpm_solver_v3_plan(statistics, log_snr_sigmas(n), **options) for n in steps]
    errors = [jnp.sqrt(jnp.mean((sample(mixture_denoise, x, plan) - truth) ** 2)) for plan in plans]
    assert abs(-np.polyfit(np.log(steps), np.log(errors), 1)[0] - (order + corrector)) < 0.25


def test_vp_sampling_is_ve_sampling_in_rescaled_coordinates(x64):
    schedule, times = linear_schedule(), np.linspace(0.9, 0.02, 8)
    sigmas, alphas, statistics = schedule.sigma(times), schedule.alpha(times), wavy_statistics(300)
    plan = dpm_solver_v3_plan(statistics, sigmas, order=3, corrector=True, alphas=alphas, times=times)
    vp = sample(vp_denoiser(mixture_denoise, schedule), start(scale=1.0), plan)
    plan = dpm_solver_v3_plan(statistics, sigmas / alphas, order=3, corrector=True)
    ve = sample(mixture_denoise, start(scale=1.0) / alphas[0], plan)
    np.testing.assert_allclose(vp, alphas[-1] * ve, rtol=1e-9, atol=1e-11)


def test_jump_to_zero_noise_is_the_denoised_sample(x64):
    statistics = wavy_statistics(100)
    sigmas = edm_sigmas(6)
    last = sample(
        mixture_denoise, start(), dpm_solver_v3_plan(statistics, sigmas[:-1], order=2, lower_order_final=False)
    )
    whole = sample(mixture_denoise, start(), dpm_solver_v3_plan(statistics, sigmas, order=2, lower_order_final=False))
    np.testing.assert_allclose(whole, mixture_denoise(last, sigmas[-2]), rtol=1e-12)


def test_one_network_call_per_step_and_one_trace_per_grid_length():
    traces = []

    def denoise(x, sigma):
        traces.append(0)
        return jnp.arctan(x) * sigma

    plans = [
        dpm_solver_v3_plan(wavy_statistics(60), grid, order=3, corrector=True)
        for grid in (edm_sigmas(6), edm_sigmas(6, rho=3))
    ]
    assert plans[0].evaluations == 6
    text = str(jax.make_jaxpr(lambda x: sample(denoise, x, plans[0]))(start()))
    assert text.count(" atan ") == 1
    run, before = jax.jit(sample, static_argnums=0), len(traces)
    run(denoise, start(), plans[0])
    once = len(traces) - before
    run(denoise, start(), plans[1])
    assert len(traces) == before + once


# --- Statistics ----------------------------------------------------------------------------------------------------

COVARIANCE = np.array([[1.0, 0.4, 0.1], [0.4, 0.5, -0.2], [0.1, -0.2, 0.3]])
MEAN = np.array([0.5, -1.0, 0.3])


def full_gaussian_denoise(x, sigma):
    gain = COVARIANCE @ jnp.linalg.inv(COVARIANCE + sigma**2 * jnp.eye(3))
    return MEAN[None] + (x - MEAN[None]) @ gain.T


def known_statistics(lambda_, n):
    """l, s, b of the full Gaussian with the standard errors of s and b over n samples.

    With K = C (C + sigma^2)^-1 and k = diag K: f = F (x - mean) - (1 - k) mean, F = k - K, and along the flow
    f' = G (x - mean) + k' mean, G = k' - k (I - K) - K (I - K), k' = diag 2 K (I - K).
    """
    noise, eye = np.exp(-2 * lambda_), np.eye(3)
    total = COVARIANCE + noise * eye
    K = COVARIANCE @ np.linalg.inv(total)
    k, change = np.diag(K), 2 * np.diag(K @ (eye - K))
    F = np.diag(k) - K
    G = np.diag(change) - k[:, None] * (eye - K) - K @ (eye - K)
    var_f, cov, var_g = (np.diag(A @ total @ A2.T) for A, A2 in ((F, F), (F, G), (G, G)))
    s = cov / var_f
    rest = var_g - s**2 * var_f
    offset = -(1 - k) * MEAN
    error_s = np.sqrt(rest / var_f / n)
    return 1 - k, s, change * MEAN - s * offset, error_s, np.sqrt(rest / n + (error_s * offset) ** 2)


def test_statistics_of_a_gaussian_are_the_known_ones(x64):
    """s and b within four standard errors and the 3e-3 that finite differences of l leave."""
    n, lambdas = 8000, np.linspace(-1.5, 1.5, 61)
    data = MEAN[None] + jax.random.normal(jax.random.key(0), (n, 3)) @ np.linalg.cholesky(COVARIANCE).T
    found = dpm_solver_v3_statistics(jax.random.key(1), full_gaussian_denoise, data, lambdas)
    np.testing.assert_array_equal(found.lambdas, lambdas)
    for i in range(2, 59, 7):
        l, s, b, error_s, error_b = known_statistics(lambdas[i], n)
        np.testing.assert_allclose(found.l[i], l, rtol=1e-12)
        assert np.all(np.abs(found.s[i] - s) < 4 * error_s + 3e-3 * (1 + np.abs(s)))
        assert np.all(np.abs(found.b[i] - b) < 4 * error_b + 3e-3 * (1 + np.abs(b)))


def test_probes_estimate_the_diagonal_within_four_standard_errors(x64):
    """One probe has variance 2 sum_{j != i} K_ij^2 at most, over n samples and p probes."""
    n, probes, lambdas = 500, 4, np.linspace(-1.0, 1.0, 5)
    exact = [known_statistics(lambda_, n)[0] for lambda_ in lambdas]
    found = dpm_solver_v3_statistics(
        jax.random.key(1), full_gaussian_denoise, jnp.zeros((n, 3)), lambdas, num_probes=probes
    )
    assert np.abs(found.l - np.array(exact)).max() < 4 * np.sqrt(2 * 0.5 / (n * probes))
    assert np.abs(found.l - np.array(exact)).max() > 0


@pytest.mark.parametrize("double", [False, True])
def test_where_f_is_constant_the_slope_is_zero_and_the_plan_is_exact(double):
    """A diagonal Gaussian: the measured statistics are the analytic ones, without 0/0, and reach the known flow."""
    with jax.enable_x64(double):
        variances, mean, lambdas = np.array([1.0, 0.3, 0.01]), np.array([0.5, -1.0, 2.0]), fine_lambdas(400)
        m, v = (jnp.asarray(a, float)[None] for a in (mean, variances))
        denoise = lambda x, sigma: m + v / (v + sigma**2) * (x - m)
        found = dpm_solver_v3_statistics(jax.random.key(0), denoise, jnp.tile(m, (256, 1)), lambdas)
        truth = gaussian_statistics(mean, variances, 400)
        np.testing.assert_allclose(found.l, truth.l, atol=1e-5)
        np.testing.assert_array_equal(found.s, 0)
        np.testing.assert_allclose(found.b, truth.b, atol=3e-2 if not double else 2e-3)
        plan = dpm_solver_v3_plan(found, [80.0, 0.002], order=1)
        flow = m + jnp.sqrt((v + 0.002**2) / (v + 80.0**2)) * (start().astype(m.dtype) - m)
        np.testing.assert_allclose(sample(denoise, start().astype(m.dtype), plan), flow, atol=2e-3)


def test_measured_statistics_beat_dpm_solver_at_equal_evaluations(x64):
    labels = jax.random.randint(jax.random.key(4), (2000,), 0, 3)
    data = jnp.asarray(MEANS)[labels] + np.sqrt(VARIANCE) * jax.random.normal(jax.random.key(5), (2000, 3))
    statistics = dpm_solver_v3_statistics(jax.random.key(6), mixture_denoise, data, fine_lambdas(240))
    x, sigmas = start(256), log_snr_sigmas(12)
    truth = sample(mixture_denoise, x, dpm_solver_plan(log_snr_sigmas(1000), order=2))
    error = lambda plan: jnp.sqrt(jnp.mean((sample(mixture_denoise, x, plan) - truth) ** 2))
    assert error(dpm_solver_v3_plan(statistics, sigmas, order=2)) < 0.7 * error(dpm_solver_plan(sigmas, order=2))


def test_images_on_eight_devices_equal_one_without_a_gather(mesh8):
    data = jax.random.normal(jax.random.key(2), (32, 2, 2, 1))
    denoise = lambda x, sigma: jnp.tanh(x / (1 + sigma)) + 0.1 * x[:, ::-1]
    lambdas = jnp.linspace(-2.0, 2.0, 9)
    run = jax.jit(lambda data: dpm_solver_v3_statistics(jax.random.key(0), denoise, data, lambdas))
    sharded = jax.device_put(data, NamedSharding(mesh8, P("data")))
    for ours, truth in zip(run(sharded), run(data), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=2e-4, atol=2e-5)
    assert run(data).l.shape == (9, 2, 2, 1)
    assert "all-gather" not in run.lower(sharded).compile().as_text()
    plan = dpm_solver_v3_plan(run(data), log_snr_sigmas(4, minimum=0.2, maximum=5.0), order=2)
    steps = jax.jit(lambda x: sample(denoise, x, plan))
    np.testing.assert_allclose(steps(sharded), steps(data), rtol=1e-5, atol=1e-5)
    assert "all-gather" not in steps.lower(sharded).compile().as_text()


# --- Bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("sigmas", {"sigmas": [100.0, 1.0]}),
        ("sigmas", {"sigmas": [1.0, 0.001]}),
        ("sigmas", {"sigmas": [1.0, 2.0]}),
        ("order", {"order": 4}),
        ("order", {"order": 0}),
    ],
)
def test_bad_plans_are_named(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be"):
        dpm_solver_v3_plan(wavy_statistics(50), **{"sigmas": [10.0, 1.0, 0.0], "order": 2} | bad)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lambdas", lambda s: s._replace(lambdas=s.lambdas[::-1])),
        ("lambdas", lambda s: s._replace(lambdas=s.lambdas[None])),
        ("statistics.l", lambda s: s._replace(l=s.l[1:])),
        ("statistics.s", lambda s: s._replace(s=s.s[:, 1:])),
        ("statistics.b", lambda s: s._replace(b=s.b * np.nan)),
    ],
)
def test_bad_statistics_are_named(name, change):
    with pytest.raises(ValueError, match=f"{name} must be"):
        dpm_solver_v3_plan(change(wavy_statistics(50)), [10.0, 1.0, 0.0], order=2)


@pytest.mark.parametrize(
    "bad",
    [
        {"lambdas": [1.0, 0.0]},
        {"lambdas": [0.0]},
        {"lambdas": [0.0, np.nan]},
        {"data": jnp.ones((0, 3))},
        {"num_probes": 0},
    ],
)
def test_bad_measurements_are_named(bad):
    options = {"data": jnp.ones((2, 3)), "lambdas": [0.0, 1.0]} | bad
    with pytest.raises(ValueError, match="must be"):
        dpm_solver_v3_statistics(jax.random.key(0), mixture_denoise, **options)
