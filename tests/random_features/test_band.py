"""Oracles: closed forms and stated values, scaling, limits, the two-sided bound for random bands and targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import integrate
from scipy.special import erfc

from jaxlib_methods.random_features import (
    Bumps,
    SpectralEnergy,
    admissibility,
    band_error,
    band_limited,
    band_multiplier,
    band_quadrature,
    band_report,
    band_report_from_samples,
    bounded_spectrum_floor,
    box_quadrature,
    bumps_apply,
    bumps_norm,
    bumps_power,
    bumps_ridgelet,
    gaussian_box_energy,
    gaussian_out_of_band,
    gaussian_pair,
    grid_energy,
    logistic_pair,
    modulated_gaussian,
    radial_energy,
    random_net_apply,
    tanh_pair,
)

LAMS = np.array([0.5, 1, 2, 4, 8])
TABLE = {
    (1, 1): [0.66250, 0.40390, 0.16626, 0.05024, 0.01327],
    (1, 2): [0.52789, 0.22393, 0.04301, 0.00419, 0.00030],
    (2, 2): [0.78391, 0.45423, 0.13999, 0.02497, 0.00347],
    (3, 2): [0.92637, 0.69667, 0.33652, 0.10910, 0.02945],
}
bell_energy = lambda dim, scale=1.0: radial_energy(
    lambda r: (2 * np.pi * scale**2) ** dim * jnp.exp(-((scale * r) ** 2)), dim=dim, limit=9.0 / scale
)


@pytest.mark.parametrize(("dim", "order"), TABLE)
def test_errors_of_the_gaussian_target_are_the_tabled_ones(dim, order, x64):
    predicted = band_error(bell_energy(dim), LAMS, gaussian_pair(order), dim=dim)
    np.testing.assert_allclose(predicted.error, TABLE[dim, order], atol=6e-6)
    closed = gaussian_out_of_band(jnp.asarray(LAMS), gaussian_pair(order), dim=dim)
    np.testing.assert_allclose(predicted.out_of_band, closed, rtol=1e-9)
    assert (predicted.lower <= predicted.error).all()
    assert (predicted.error <= predicted.upper).all()


def test_the_line_has_closed_forms(x64):
    u = 1 / LAMS**2
    predicted = band_error(bell_energy(1), LAMS, gaussian_pair(1), dim=1)
    np.testing.assert_allclose(predicted.error**2, 1 - 2 / np.sqrt(1 + u) + 1 / np.sqrt(1 + 2 * u), rtol=1e-9)
    np.testing.assert_allclose(predicted.out_of_band, 1 - 1 / np.sqrt(1 + u), rtol=1e-9)
    far = band_error(bell_energy(1), 1e3, gaussian_pair(1), dim=1)
    np.testing.assert_allclose(far.error * 1e6, np.sqrt(3) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("frequency", "expected"),
    {2: [0.636, 0.183, 0.051, 0.013], 5: [0.994, 0.633, 0.230, 0.064], 10: [1.000, 0.979, 0.632, 0.223]}.items(),
)
def test_the_band_needed_grows_with_the_frequency_of_the_target(frequency, expected, x64):
    power = lambda r: bumps_power(modulated_gaussian(1, frequency=frequency), r[:, None])
    energy = radial_energy(power, dim=1, limit=frequency + 9.0)
    predicted = band_error(energy, np.array([2.0, 5, 10, 20]), gaussian_pair(1), dim=1)
    np.testing.assert_allclose(predicted.error, expected, atol=6e-4)


@pytest.mark.parametrize(
    "pair", [gaussian_pair(1), gaussian_pair(3), tanh_pair(), logistic_pair()], ids=lambda p: p.name
)
@pytest.mark.parametrize("dim", [1, 2])
def test_the_multiplier_is_one_at_zero_and_falls_to_nothing(pair, dim, x64):
    t = jnp.linspace(0, 8, 60)
    kept = band_multiplier(t, pair, dim=dim)
    np.testing.assert_allclose(kept[0], 1, rtol=1e-12)
    assert (jnp.diff(kept) < 0).all()
    assert kept[-1] < 1e-6
    whole = integrate.quad(lambda w: float(pair.spectrum(w)) * w**-dim, 0, 20)[0]
    tail = integrate.quad(lambda w: float(pair.spectrum(w)) * w**-dim, 1.3, 20)[0]
    np.testing.assert_allclose(band_multiplier(jnp.array([1.3]), pair, dim=dim)[0], tail / whole, rtol=1e-7)
    slope = jax.grad(lambda t: band_multiplier(t, pair, dim=dim))
    np.testing.assert_allclose(slope(1.3), -float(pair.spectrum(1.3)) * 1.3**-dim / whole, rtol=1e-6)
    assert jnp.isfinite(slope(0.0))


def test_the_multiplier_of_tanh_has_the_stated_values(x64):
    kept = band_multiplier(jnp.array([0.25, 0.5, 1, 2, 3]), tanh_pair(), dim=1)
    np.testing.assert_allclose(kept, [0.94802, 0.80862, 0.43411, 0.04208, 0.00116], atol=6e-6)


def test_the_filtered_bell_in_the_plane_has_the_stated_values(x64):
    bell = lambda r: 2 * jnp.pi * jnp.exp(-(r**2) / 2)
    values = lambda lam: band_limited(jnp.array([0, 0.5, 1.5]), bell, lam, gaussian_pair(2), dim=2, limit=9.0, nodes=80)
    np.testing.assert_allclose(values(1.5), [0.67717913, 0.62649194, 0.33292031], atol=5e-9)
    np.testing.assert_allclose(values(1e4), np.exp(-np.array([0, 0.25, 2.25]) / 2), atol=1e-6)
    np.testing.assert_allclose(values(1e-2), 0, atol=1e-3)


def test_the_filtered_bell_on_the_line_is_a_wider_bell_and_the_truncated_synthesis(x64):
    x, lam = jnp.linspace(-4, 4, 9), 1.5
    v = 1 + 2 / lam**2
    truth = jnp.exp(-(x**2) / (2 * v)) / jnp.sqrt(v)
    bell = lambda r: jnp.sqrt(2 * jnp.pi) * jnp.exp(-(r**2) / 2)
    filtered = band_limited(jnp.abs(x), bell, lam, gaussian_pair(1), dim=1, limit=9.0)
    np.testing.assert_allclose(filtered, truth, atol=1e-12)
    hidden, weights = band_quadrature(1, lam, 20.0, 120)
    coefficients = weights * bumps_ridgelet(modulated_gaussian(1), hidden, 1) / admissibility(gaussian_pair(1), dim=1)
    synthesis = random_net_apply(hidden, coefficients, x[:, None], gaussian_pair(1).activation)
    np.testing.assert_allclose(synthesis, truth, atol=1e-10)
    np.testing.assert_allclose(
        band_error(bell_energy(1), lam, gaussian_pair(1), dim=1).error ** 2, 0.0635063, atol=5e-8
    )


def test_in_three_dimensions_the_filter_is_the_sine_transform(x64):
    bell, pair = lambda r: (2 * jnp.pi) ** 1.5 * jnp.exp(-(r**2) / 2), gaussian_pair(2)
    kept = lambda r: float(band_multiplier(jnp.asarray(r), pair, dim=3))
    direct = integrate.quad(lambda r: r * kept(r / 2) * np.exp(-(r**2) / 2) * np.sin(0.7 * r) / 0.7, 0, 9)[0]
    ours = band_limited(jnp.array([0.7]), bell, 2.0, pair, dim=3, limit=9.0, nodes=80)
    np.testing.assert_allclose(ours, direct * np.sqrt(2 / np.pi), rtol=1e-7)


@settings(deadline=None, max_examples=10)
@given(scale=st.floats(0.2, 5), lam=st.floats(0.2, 5), order=st.integers(1, 3))
def test_errors_depend_on_lambda_times_scale_alone(scale, lam, order):
    with jax.enable_x64(True):
        one = band_error(bell_energy(1), lam * scale, gaussian_pair(order), dim=1)
        other = band_error(bell_energy(1, scale), lam, gaussian_pair(order), dim=1)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), one, other)


@settings(deadline=None, max_examples=10)
@given(lam=st.floats(0.3, 4), beta=st.floats(0.5, 8), seed=st.integers(0, 99), order=st.integers(1, 2))
def test_the_two_sided_bound_holds_in_any_box_for_any_bumps(lam, beta, seed, order):
    with jax.enable_x64(True):
        random = np.random.default_rng(seed)
        draw = lambda *shape: jnp.asarray(random.normal(size=shape))
        f = Bumps(draw(3), draw(3, 1), jnp.asarray(random.uniform(0.4, 1.5, 3)), draw(3, 1))
        norm, constant = bumps_norm(f), admissibility(gaussian_pair(order), dim=1)
        hidden, weights = band_quadrature(1, lam, beta, 160)
        values = bumps_ridgelet(f, hidden, order)
        inside = jnp.sum(weights * values**2) / constant
        out = norm**2 - inside
        x, measure = box_quadrature(1, 30.0, 800)
        reached = random_net_apply(hidden, weights * values / constant, x, gaussian_pair(order).activation)
        f_x = bumps_apply(f, x)
        rest = jnp.sum(measure * (f_x - reached) ** 2) ** 0.5
        np.testing.assert_allclose(jnp.sum(measure * f_x * (f_x - reached)), out, atol=1e-4 * norm**2)
        assert out / norm <= rest * 1.001 + 1e-4
        assert rest <= jnp.sqrt(out) * 1.001 + 1e-4
        bigger = band_quadrature(1, 1.3 * lam, 1.3 * beta, 64)
        more = jnp.sum(bigger[1] * bumps_ridgelet(f, bigger[0], order) ** 2) / constant
        assert more >= inside - 1e-6


def test_box_energies_are_the_stated_ones_and_those_of_quadrature(x64):
    for half, share in {1: 0.250165, 2: 0.746344, 4: 0.945402, 8: 0.986634}.items():
        np.testing.assert_allclose(gaussian_box_energy(float(half), float(half)), share, atol=6e-7)
    hidden, weights = band_quadrature(1, 2.0, 2.0, 60)
    energy = jnp.sum(weights * bumps_ridgelet(modulated_gaussian(1), hidden, 1) ** 2) / (2 * np.pi * np.sqrt(np.pi))
    np.testing.assert_allclose(energy, 0.746344, atol=6e-7)


def test_cosines_cannot_reach_beyond_their_band(x64):
    energy = radial_energy(lambda r: jnp.exp(-(r**2)), dim=1, limit=9.0, nodes=1500)
    floor = bounded_spectrum_floor(energy, np.array([0.5, 1.0, 2.0]))
    np.testing.assert_allclose(floor**2, erfc(np.array([0.5, 1.0, 2.0])), atol=5e-3)  # nodes within a step of the edge
    wide = bounded_spectrum_floor(energy, 0.5, omega=2.0)
    np.testing.assert_allclose(wide, floor[1], rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_report_on_a_grid_equals_the_theory_and_suggests_the_first_good_band(dim, x64):
    axis = jnp.linspace(-8, 8, 41)
    grid = jnp.stack(jnp.meshgrid(*[axis] * dim, indexing="ij"), -1)
    values = bumps_apply(modulated_gaussian(dim), grid.reshape(-1, dim)).reshape((41,) * dim)
    lams = jnp.asarray(LAMS)
    report = band_report(values, 0.4, lams, gaussian_pair(2), tolerance=0.2)
    truth = band_error(bell_energy(dim), LAMS, gaussian_pair(2), dim=dim)
    np.testing.assert_allclose(report.predicted.error, truth.error, atol=3e-3)
    np.testing.assert_allclose(grid_energy(values, 0.4).energy.sum(), np.pi ** (dim / 2), rtol=1e-9)
    assert report.suggested == LAMS[np.argmax(np.asarray(truth.error) < 0.2)]
    assert band_report(values, 0.4, lams, gaussian_pair(2), tolerance=1e-6).suggested == np.inf


def test_the_report_from_samples_agrees_within_its_noise():
    x = 1.5 * jax.random.normal(jax.random.key(0), (20_000, 2))
    density = jnp.exp(-jnp.sum(x**2, 1) / 4.5) / (2 * jnp.pi * 2.25)
    y, lams = bumps_apply(modulated_gaussian(2), x), jnp.array([1.0, 2.0, 4.0])
    report = band_report_from_samples(
        jax.random.key(1), x, y, density, lams, gaussian_pair(2), beta=12.0, units=2048, tolerance=0.4
    )
    truth = gaussian_out_of_band(lams, gaussian_pair(2), dim=2)
    np.testing.assert_allclose(report.predicted.out_of_band, truth, atol=0.08)


@pytest.mark.parametrize(
    "call",
    [
        lambda: band_error(bell_energy(1), -1.0, gaussian_pair(1), dim=1),
        lambda: band_multiplier(jnp.ones(1), gaussian_pair(1), dim=3),
        lambda: gaussian_out_of_band(jnp.ones(1), tanh_pair(), dim=1),
        lambda: radial_energy(jnp.cos, dim=0, limit=1.0),
        lambda: radial_energy(jnp.cos, dim=1, limit=0.0),
        lambda: bounded_spectrum_floor(SpectralEnergy(jnp.ones(1), jnp.ones(1)), 1.0, omega=0.0),
        lambda: grid_energy(jnp.ones(4), 0.0),
        lambda: band_report(jnp.ones(4), 1.0, jnp.ones(1), gaussian_pair(1), tolerance=0.0),
        lambda: box_quadrature(1, -1.0, 4),
        lambda: band_quadrature(1, 1.0, 1.0, 0),
        lambda: band_report_from_samples(
            jax.random.key(0), jnp.ones((4, 1)), jnp.ones(4), jnp.zeros(4), jnp.ones(1), gaussian_pair(1), beta=1.0
        ),
    ],
)
def test_bad_arguments_are_named(call):
    with pytest.raises(ValueError, match="must be"):
        call()
