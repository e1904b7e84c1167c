"""Cases of `jaxlib_methods.random_features.bandlimited`."""

import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEY, SIGMA, SIGMAS, X, Y, array, case, normal, positive
from jaxlib_methods import random_features

HIDDEN = random_features.Hidden(normal(5, 3), normal(5))
BUMPS = random_features.Bumps(normal(2), normal(2, 3), positive(2), normal(2, 3))
LINE = random_features.Bumps(normal(2), normal(2, 1), positive(2), normal(2, 1))
ENERGY = random_features.SpectralEnergy(positive(16), positive(16))
POINTS = normal(16, 1)
WINDOW = random_features.Window(POINTS, positive(16))
FEATURES = normal(8, 5)
GRAM = FEATURES @ FEATURES.T + np.eye(8)
LAMS = array(0.5, 1.0, 3.0)
FIRST, SECOND = random_features.gaussian_pair(1), random_features.gaussian_pair(2)
PLANE = random_features.Hidden(normal(5, 1), normal(5))


def net(sampler):
    transform = lambda hidden: random_features.bumps_ridgelet(random_features.modulated_gaussian(1), hidden, 1)
    options = dict(lam=2.0, beta=9.0, sampler=sampler, cells=8)
    return lambda key, window: random_features.ridgelet_net(key, transform, 4, window, FIRST, **options)


def monte_carlo(bumps, window):
    transform = lambda hidden: random_features.bumps_ridgelet(bumps, hidden, 1)
    target = random_features.bumps_apply(bumps, window.x)
    return random_features.monte_carlo_error(transform, target, window, FIRST, lam=2.0, beta=5.0, nodes=8)


CASES = {
    "random_features.band_error": case(lambda e, lam: random_features.band_error(e, lam, FIRST, dim=1), ENERGY, LAMS),
    "random_features.band_limited": case(
        lambda r, lam: random_features.band_limited(
            r, lambda k: jnp.exp(-(k**2)), lam, SECOND, dim=2, limit=6.0, nodes=32
        ),
        SIGMAS,
        SIGMA,
        rows=(0,),
    ),
    "random_features.band_multiplier": case(
        lambda t: random_features.band_multiplier(t, random_features.tanh_pair(), dim=1), SIGMAS, rows=(0,)
    ),
    "random_features.band_report": case(
        lambda f: random_features.band_report(f, 0.5, jnp.array([1.0, 2.0]), FIRST).predicted.error, SIGMAS
    ),
    "random_features.band_report_from_samples": case(
        lambda k, x, y, q, l: (
            random_features.band_report_from_samples(k, x, y, q, l, FIRST, beta=4.0, units=16).predicted.lower
        ),
        KEY,
        POINTS,
        normal(16),
        positive(16),
        LAMS,
        grad=False,
    ),
    "random_features.bounded_spectrum_floor": case(
        random_features.bounded_spectrum_floor, ENERGY, array(0.6, 0.7, 1.0)
    ),
    "random_features.budget_frontier": case(random_features.budget_frontier, GRAM, Y, LAMS),
    "random_features.bumps_apply": case(random_features.bumps_apply, BUMPS, X, rows=(1,)),
    "random_features.bumps_norm": case(random_features.bumps_norm, LINE),
    "random_features.bumps_power": case(random_features.bumps_power, BUMPS, X, rows=(1,)),
    "random_features.bumps_ridgelet": case(lambda f, h: random_features.bumps_ridgelet(f, h, 2), BUMPS, HIDDEN),
    "random_features.cosine_kernel": case(random_features.cosine_kernel, X, Y, SIGMA, rows=(0, 1)),
    "random_features.dual_lower_bound": case(
        lambda f, y, h, g: random_features.dual_lower_bound(f, y, h, g, order=2), FEATURES, X[:, 0], X[:, 1], SIGMA
    ),
    "random_features.fit_readout": case(
        lambda h, y: random_features.fit_readout(h, y, reg=0.1), FEATURES, Y, rows=(0, 1)
    ),
    "random_features.gaussian_box_energy": case(random_features.gaussian_box_energy, SIGMA, SIGMA),
    "random_features.gaussian_out_of_band": case(
        lambda t: random_features.gaussian_out_of_band(t, SECOND, dim=3), SIGMAS, rows=(0,)
    ),
    "random_features.grid_energy": case(lambda f: random_features.grid_energy(f, 0.5).energy, normal(8, 4)),
    "random_features.hermite_gaussian": case(lambda z: random_features.hermite_gaussian(z, 3), SIGMAS, rows=(0,)),
    "random_features.hidden_features": case(
        lambda h, x: random_features.hidden_features(h, x, jnp.tanh), HIDDEN, X, rows=(1,)
    ),
    "random_features.kernel_lower_bound": case(random_features.kernel_lower_bound, GRAM, X[:, 0], X[:, 1], SIGMA),
    "random_features.monte_carlo_error": case(monte_carlo, LINE, WINDOW, rows=(1,)),
    "random_features.random_net_apply": case(
        lambda h, c, x: random_features.random_net_apply(h, c, x, jnp.tanh, block=2), HIDDEN, normal(5, 2), X, rows=(2,)
    ),
    "random_features.ridgelet_net": case(net("density"), KEY, WINDOW, grad=False),
    "random_features.ridgelet_transform": case(
        lambda f, x, w, h: random_features.ridgelet_transform(f, x, w, h, jnp.tanh, block=5),
        normal(16),
        POINTS,
        positive(16),
        PLANE,
        rows=(0, 1, 2),
    ),
    "random_features.sample_hidden": case(
        lambda k, lam: random_features.sample_hidden(k, 4, 3, lam=lam, dtype=lam.dtype), KEY, SIGMA
    ),
    "random_features.sweep_bandwidth": case(
        lambda k, x, y, lams: random_features.sweep_bandwidth(
            k, x, y, x, y, lams, jnp.tanh, widths=(2, 4), seeds=2, reg=0.1
        ),
        KEY,
        POINTS,
        normal(16),
        LAMS,
    ),
}

HOST = {
    *(f"random_features.{name}" for name in ("admissibility", "gaussian_pair", "logistic_pair", "tanh_pair")),
    *(f"random_features.{name}" for name in ("band_quadrature", "box_quadrature", "radial_energy")),
    *(f"random_features.{name}" for name in ("modulated_gaussian", "three_bumps")),
}
