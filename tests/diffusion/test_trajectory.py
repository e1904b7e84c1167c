"""Oracles: the differential equation itself, the semigroup, pushed-forward covariances, rotation and emergence laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.diffusion import (
    ModelStatistics,
    dpm_solver_plan,
    dpm_solver_v3_plan,
    edm_sigmas,
    emergence_share,
    emergence_sigma,
    gaussian_denoise,
    gaussian_score,
    heun_plan,
    linear_schedule,
    perturbation_response,
    planar_share,
    probability_flow,
    probability_flow_denoised,
    rotation_state,
    sample,
    teleport,
    unipc_plan,
)
from jaxlib_methods.numerics import gaussian_from_covariance

D = 5
LAWS = [(None, False), (2, False), (2, True), (0, True)]


def gaussian(rank=None, remainder=False):
    a = jax.random.normal(jax.random.key(0), (D, D))
    return gaussian_from_covariance(a[0], a @ a.T, rank=rank, remainder=remainder)


def start(sigma=80.0, rows=4):
    return sigma * jax.random.normal(jax.random.key(9), (rows, D))


@pytest.mark.parametrize(("rank", "remainder"), LAWS)
def test_two_moves_are_one_and_back_again_is_none(x64, rank, remainder):
    g, x = gaussian(rank, remainder), start()
    one = probability_flow(g, x, 80.0, 0.3)
    two = probability_flow(g, probability_flow(g, x, 80.0, 7.0), 7.0, 0.3)
    np.testing.assert_allclose(two, one, rtol=1e-12)
    np.testing.assert_allclose(probability_flow(g, one, 0.3, 80.0), x, rtol=1e-11)


@pytest.mark.parametrize(("rank", "remainder"), LAWS)
def test_the_path_obeys_the_probability_flow_equation(x64, rank, remainder):
    g, x = gaussian(rank, remainder), start()
    path = lambda sigma: probability_flow(g, x, 80.0, sigma)
    point, velocity = jax.jvp(path, (jnp.asarray(2.0),), (jnp.asarray(1.0),))
    np.testing.assert_allclose(velocity, -2.0 * gaussian_score(g, point, 2.0), rtol=1e-10)


def test_the_variance_preserving_path_obeys_its_equation(x64):
    """dx/dt = -b(t)/2 (x + s(x)) for dx = -b x/2 dt + sqrt(b) dW, with alpha and sigma of the linear schedule."""
    g, schedule = gaussian(), linear_schedule()
    x = start(1.0)
    path = lambda t: probability_flow(
        g, x, schedule.sigma(1.0), schedule.sigma(t), alpha_from=schedule.alpha(1.0), alpha_to=schedule.alpha(t)
    )
    t = jnp.asarray(0.4)
    alpha, sigma, rate = schedule.alpha(t), schedule.sigma(t), 0.1 + 19.9 * t
    point, velocity = jax.jvp(path, (t,), (jnp.ones_like(t),))
    score = gaussian_score(g, point / alpha, sigma / alpha) / alpha
    np.testing.assert_allclose(velocity, -0.5 * rate * (point + score), rtol=1e-9)


def test_samples_are_carried_to_the_covariance_of_their_level(x64):
    g = gaussian()
    factor = probability_flow(g._replace(mean=jnp.zeros(D)), jnp.eye(D), 80.0, 0.5)
    cov = lambda sigma: (g.basis * (g.variances + sigma**2)[None]) @ g.basis.T
    np.testing.assert_allclose(factor.T @ cov(80.0) @ factor, cov(0.5), rtol=1e-9, atol=1e-9)


def test_off_the_basis_only_the_noise_scale_counts(x64):
    g = gaussian(2)
    off = jnp.eye(D) - g.basis @ g.basis.T
    moved = (probability_flow(g, start(), 80.0, 3.0) - g.mean[None]) @ off
    np.testing.assert_allclose(moved, 3 / 80 * (start() - g.mean[None]) @ off, rtol=1e-10, atol=1e-12)
    with_rest = probability_flow(gaussian(2, True), start(), 80.0, 3.0)
    full = gaussian()._replace(variances=gaussian().variances.at[2:].set(gaussian(2, True).remainder))
    np.testing.assert_allclose(with_rest, probability_flow(full, start(), 80.0, 3.0), rtol=1e-10)


@pytest.mark.parametrize(("rank", "remainder"), LAWS)
@pytest.mark.parametrize("alpha", [1.0, 0.8])
def test_the_denoised_path_is_the_denoiser_on_the_path(x64, rank, remainder, alpha):
    g, x = gaussian(rank, remainder), start()
    levels = dict(alpha_from=0.1, alpha_to=alpha)
    point = probability_flow(g, x, 0.99, 0.6, **levels)
    ours = probability_flow_denoised(g, x, 0.99, 0.6, **levels)
    np.testing.assert_allclose(ours, gaussian_denoise(g, point / alpha, 0.6 / alpha), rtol=1e-11)


def test_at_no_noise_a_singular_law_denoises_without_nan():
    ours = probability_flow_denoised(gaussian(2), start(), 80.0, 0.0)
    np.testing.assert_allclose(ours, probability_flow(gaussian(2), start(), 80.0, 0.0), rtol=1e-5, atol=1e-5)


def test_directions_emerge_at_their_standard_deviation(x64):
    lam = jnp.array([9.0, 1.0])
    np.testing.assert_allclose(jnp.diag(emergence_share(lam, jnp.sqrt(lam))), 2**-0.5)
    np.testing.assert_allclose(jnp.diag(emergence_share(lam, jnp.sqrt(3 * lam))), 0.5)
    np.testing.assert_allclose(jnp.diag(emergence_share(lam, emergence_sigma(lam, 0.3))), 0.3)
    g, x = gaussian(), start()
    along = lambda a: (a - g.mean[None]) @ g.basis
    share = along(probability_flow_denoised(g, x, 80.0, 2.0)) / along(probability_flow_denoised(g, x, 80.0, 0.0))
    np.testing.assert_allclose(share, emergence_share(g.variances, 2.0)[None].repeat(4, 0), rtol=1e-9)


def test_a_kick_changes_the_sample_by_its_gain_and_vanishes_off_the_data(x64):
    g = gaussian(2)
    kick = 1e-3 * start(1.0)
    moved = probability_flow(g, start() + kick, 80.0, 0.0) - probability_flow(g, start(), 80.0, 0.0)
    np.testing.assert_allclose(perturbation_response(g, kick, 80.0), moved, rtol=1e-6)
    gain = jnp.sqrt(g.variances / (g.variances + 4.0))
    np.testing.assert_allclose(perturbation_response(g, g.basis.T, 2.0), gain[:, None] * g.basis.T, atol=1e-12)
    off = (jnp.eye(D) - g.basis @ g.basis.T)[:1]
    np.testing.assert_allclose(perturbation_response(g, off, 2.0), 0, atol=1e-12)


def test_the_variance_preserving_path_is_nearly_a_planar_rotation(x64):
    g, schedule = gaussian()._replace(mean=jnp.zeros(D)), linear_schedule()
    g = g._replace(variances=0.01 * g.variances)
    x = start(1.0, rows=1)
    end = dict(alpha_from=schedule.alpha(1.0))
    states, errors = [], []
    for t in np.linspace(0.02, 1.0, 50):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        state = probability_flow(g, x, schedule.sigma(1.0), sigma, alpha_to=alpha, **end)
        denoised = probability_flow_denoised(g, x, schedule.sigma(1.0), sigma, alpha_to=alpha, **end)
        errors.append(jnp.linalg.norm(rotation_state(denoised, x, alpha) - state) / jnp.linalg.norm(x))
        states.append(state[0])
    assert max(errors) < 0.05
    assert planar_share(jnp.stack(states)) > 0.99


@pytest.mark.parametrize("skip", [1, 5, 17])
def test_teleporting_is_the_closed_form_and_leaves_the_tail(x64, skip):
    sigmas = edm_sigmas(18)
    x, tail = teleport(gaussian(), start().reshape(4, 1, D), sigmas, skip)
    np.testing.assert_array_equal(tail, sigmas[skip:])
    np.testing.assert_allclose(x.reshape(4, D), probability_flow(gaussian(), start(), 80.0, sigmas[skip]), rtol=1e-13)


def test_skipping_nothing_is_the_plain_sampler_bit_for_bit():
    g, sigmas = gaussian(), edm_sigmas(18)
    x, tail = teleport(g, start(), sigmas, 0)
    denoise = lambda x, sigma: gaussian_denoise(g, x, sigma)
    plain = sample(denoise, start(), heun_plan(sigmas))
    assert np.asarray(sample(denoise, x, heun_plan(tail))).tobytes() == np.asarray(plain).tobytes()


SOLVERS = {
    "euler": lambda sigmas: dpm_solver_plan(sigmas, order=1),
    "heun": heun_plan,
    "dpm-2m": lambda sigmas: dpm_solver_plan(sigmas, order=2),
    "dpm-3m": lambda sigmas: dpm_solver_plan(sigmas, order=3),
    "unipc-1": lambda sigmas: unipc_plan(sigmas, order=1),
    "unipc-2": lambda sigmas: unipc_plan(sigmas, order=2, variant="bh2"),
    "unipc-3": lambda sigmas: unipc_plan(sigmas, order=3),
    "dpm-v3": lambda sigmas: dpm_solver_v3_plan(trivial_statistics(), sigmas, order=2, corrector=True),
}


def trivial_statistics():
    lambdas = -jnp.log(jnp.geomspace(81.0, 0.001, 400))
    return ModelStatistics(lambdas, jnp.ones((400, D)), jnp.zeros((400, D)), jnp.zeros((400, D)))


@pytest.mark.parametrize("name", SOLVERS)
def test_any_solver_goes_on_from_where_it_was_teleported_to(x64, name):
    """On a Gaussian the move is exact: refined grids converge to the closed form, with the evaluations saved."""
    g = gaussian()
    truth = probability_flow(g, start(), 80.0, 0.0)
    denoise = lambda x, sigma: gaussian_denoise(g, x, sigma)
    errors = []
    for steps in (40, 80):
        x, tail = teleport(g, start(), edm_sigmas(steps), steps // 2)
        plan = SOLVERS[name](tail)
        errors.append(jnp.abs(sample(denoise, x, plan) - truth).max())
        saved = SOLVERS[name](edm_sigmas(steps)).evaluations - plan.evaluations
        assert saved == (steps if name == "heun" else steps // 2)
    assert errors[0] < 0.5
    assert errors[1] < 0.6 * errors[0]


def test_teleporting_along_a_variance_preserving_grid(x64):
    schedule = linear_schedule()
    t = np.array([1.0, 0.6, 0.2])
    alphas, sigmas = (np.asarray(f(t)) for f in (schedule.alpha, schedule.sigma))
    x, _ = teleport(gaussian(), start(1.0), sigmas, 1, alphas=alphas)
    truth = probability_flow(gaussian(), start(1.0), sigmas[0], sigmas[1], alpha_from=alphas[0], alpha_to=alphas[1])
    np.testing.assert_allclose(x, truth, rtol=1e-13)


def test_a_teleported_batch_stays_sharded(mesh8):
    x = jax.device_put(start(rows=16), jax.NamedSharding(mesh8, jax.P("data")))
    jump = jax.jit(lambda x: teleport(gaussian(), x, edm_sigmas(18), 6)[0])
    np.testing.assert_allclose(
        jump(x), teleport(gaussian(), start(rows=16), edm_sigmas(18), 6)[0], rtol=1e-4, atol=1e-4
    )
    assert "all-gather" not in jump.lower(x).compile().as_text()


BAD = [
    (lambda x: probability_flow(gaussian(), x, 0.0, 0.0), "sigma_from must be positive"),
    (lambda x: probability_flow(gaussian(), x, 1.0, -1.0), "sigma_to must be nonnegative"),
    (lambda x: probability_flow(gaussian(), x, 1.0, 0.5, alpha_to=0.0), "alpha_to must be positive"),
    (lambda x: probability_flow(gaussian(), x[0], 1.0, 0.5), "x must be"),
    (lambda x: emergence_share(jnp.array([-1.0]), 1.0), "variances must be"),
    (lambda x: emergence_sigma(jnp.ones(1), 1.0), "share must be"),
    (lambda x: planar_share(x[:2]), "trajectory must be"),
    (lambda x: rotation_state(x, x[:1], 0.5), "x_start must be"),
    (lambda x: teleport(gaussian(), x, edm_sigmas(18), 18), "skip must be"),
    (lambda x: teleport(gaussian(), x, edm_sigmas(18), -1), "skip must be"),
    (lambda x: teleport(gaussian(), x, np.ones(1), 0), "sigmas must be"),
    (lambda x: teleport(gaussian(), x, edm_sigmas(18), 1, alphas=np.ones(3)), "alphas must be"),
    (lambda x: teleport(gaussian(), x[:, :2], edm_sigmas(18), 1), "must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(start())
