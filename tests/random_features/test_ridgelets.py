"""Oracles: reconstruction and Plancherel by quadrature, transforms by quadrature, constants by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jaxlib_methods.random_features import (
    Bumps,
    Hidden,
    admissibility,
    band_limited,
    band_quadrature,
    box_quadrature,
    bumps_apply,
    bumps_norm,
    bumps_power,
    bumps_ridgelet,
    gaussian_pair,
    hermite_gaussian,
    logistic_pair,
    modulated_gaussian,
    random_net_apply,
    ridgelet_transform,
    tanh_pair,
    three_bumps,
)


def some_bumps(dim):
    random = np.random.default_rng(dim)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape))
    return Bumps(draw(2), 0.5 * draw(2, dim), jnp.asarray(random.uniform(0.6, 1.0, 2)), draw(2, dim))


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_hermite_gaussians_are_the_derivatives(order, x64):
    bell = lambda z: jnp.exp(-(z**2) / 2)
    for _ in range(order):
        bell = jax.grad(bell)
    z = jnp.linspace(-3, 3, 7)
    np.testing.assert_allclose(hermite_gaussian(z, order), jax.vmap(bell)(z), atol=1e-13)


@pytest.mark.parametrize(("dim", "order"), [(1, 1), (1, 2), (2, 2), (3, 3)])
def test_the_closed_transform_equals_quadrature(dim, order, x64):
    f = some_bumps(dim)
    x, weights = box_quadrature(dim, 8.0, {1: 200, 2: 90, 3: 60}[dim])
    random = np.random.default_rng(0)
    hidden = Hidden(jnp.asarray(random.uniform(-1, 1, size=(6, dim))), jnp.asarray(random.normal(size=6)))
    truth = ridgelet_transform(bumps_apply(f, x), x, weights, hidden, lambda z: hermite_gaussian(z, order))
    np.testing.assert_allclose(bumps_ridgelet(f, hidden, order), truth, atol=1e-7)


def test_norm_and_spectrum_are_those_of_the_function(x64):
    for dim in (1, 2):
        f = some_bumps(dim)
        x, weights = box_quadrature(dim, 9.0, 90)
        np.testing.assert_allclose(bumps_norm(f) ** 2, jnp.sum(weights * bumps_apply(f, x) ** 2), rtol=1e-9)
        xi, measure = box_quadrature(dim, 12.0, 90)
        energy = jnp.sum(measure * bumps_power(f, xi)) / (2 * np.pi) ** dim
        np.testing.assert_allclose(energy, bumps_norm(f) ** 2, rtol=1e-9)
    values = np.asarray(bumps_apply(three_bumps(), (jnp.arange(1000)[:, None] + 0.5) / 1000))
    np.testing.assert_allclose(np.sqrt(np.mean(values**2)), 0.1108, atol=5e-5)


def test_plancherel_on_the_line_and_in_the_plane(x64):
    hidden, weights = band_quadrature(1, 60.0, 200.0, 1200)
    energy = jnp.sum(weights * bumps_ridgelet(some_bumps(1), hidden, 2) ** 2) / admissibility(gaussian_pair(2), dim=1)
    np.testing.assert_allclose(energy, bumps_norm(some_bumps(1)) ** 2, rtol=1e-4)
    # the plane: for an isotropic target a = r (cos t, sin t) and R f depends on r and b alone; r = tan u, b = sqrt(T) z
    (u, z), measure = (lambda x, w: (x.T, w))(*box_quadrature(2, (np.pi / 4, 9.0), 200))
    r, t = jnp.tan(u + np.pi / 4), 1 / jnp.cos(u + np.pi / 4) ** 2
    values = bumps_ridgelet(modulated_gaussian(2), Hidden(jnp.stack([r, 0 * r], 1), jnp.sqrt(t) * z), 2)
    energy = jnp.sum(measure * 2 * np.pi * r * t * jnp.sqrt(t) * values**2) / admissibility(gaussian_pair(2), dim=2)
    np.testing.assert_allclose(energy, np.pi, rtol=1e-6)


@pytest.mark.parametrize("pair", [gaussian_pair(1), tanh_pair(), logistic_pair()], ids=lambda pair: pair.name)
def test_synthesis_in_a_band_is_the_filtered_target_and_in_a_wide_one_the_target(pair, x64):
    f, x = modulated_gaussian(1), jnp.linspace(-2, 2, 5)
    bell = lambda r: jnp.sqrt(2 * jnp.pi) * jnp.exp(-(r**2) / 2)
    hidden, weights = band_quadrature(1, 3.0, 24.0, 240)
    coefficients = weights * bumps_ridgelet(f, hidden, pair.order or 3) / admissibility(pair, dim=1)
    ours = random_net_apply(hidden, coefficients, x[:, None], pair.activation)
    filtered = lambda lam: band_limited(jnp.abs(x), bell, lam, pair, dim=1, limit=9.0)
    np.testing.assert_allclose(ours, filtered(3.0), atol=1e-9)
    np.testing.assert_allclose(filtered(1e4), bumps_apply(f, x[:, None]), atol=1e-7)


@pytest.mark.parametrize(("dim", "order"), [(1, 1), (2, 1), (2, 3), (3, 2), (10, 6)])
def test_the_gaussian_constant_is_its_integral(dim, order, x64):
    pair = gaussian_pair(order)
    integral = integrate.quad(lambda w: float(pair.spectrum(w)) * w**-dim, 0, np.inf)[0]
    np.testing.assert_allclose(admissibility(pair, dim=dim), 2 * (2 * np.pi) ** (dim - 1) * integral, rtol=1e-8)


def test_the_constant_of_tanh(x64):
    np.testing.assert_allclose(admissibility(tanh_pair(), dim=1), 5.860185, atol=5e-7)
    # dilating the activation by two: sigma(z) = 1/2 + tanh(z / 2) / 2
    spectrum = lambda w: np.pi * np.sqrt(2 * np.pi) * w**2 / np.sinh(np.pi * w) * np.exp(-(w**2) / 2)
    truth = 2 * integrate.quad(spectrum, 0, 20)[0]
    np.testing.assert_allclose(admissibility(logistic_pair(), dim=1), truth, rtol=1e-9)


@pytest.mark.parametrize(
    ("pair", "dim"), [(gaussian_pair(0), 1), (gaussian_pair(1), 3), (tanh_pair(1), 1), (tanh_pair(), 3)]
)
def test_bad_pairs_are_not_admissible(pair, dim):
    with pytest.raises(ValueError, match="pair must be admissible"):
        admissibility(pair, dim=dim)


@pytest.mark.parametrize("make", [tanh_pair, logistic_pair])
def test_bad_even_orders_are_refused(make):
    with pytest.raises(ValueError, match="order must be odd"):
        make(2)
    with pytest.raises(ValueError, match="order must be an integer"):
        gaussian_pair(-1)
