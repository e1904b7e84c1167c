"""Oracles: quadrature of the band, the Monte Carlo law, brute-force duality, permutations, common random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxlib_methods.numerics import gram
from jaxlib_methods.random_features import (
    Hidden,
    Window,
    box_quadrature,
    budget_frontier,
    bumps_apply,
    bumps_ridgelet,
    cosine_kernel,
    dual_lower_bound,
    fit_readout,
    gaussian_pair,
    hidden_features,
    kernel_lower_bound,
    modulated_gaussian,
    monte_carlo_error,
    random_net_apply,
    ridgelet_net,
    sample_hidden,
    sweep_bandwidth,
)

PAIR = gaussian_pair(1)
relu = lambda z: jnp.maximum(z, 0)


def bell(dim, order=1):
    f = modulated_gaussian(dim)
    return lambda x: bumps_apply(f, x), lambda hidden: bumps_ridgelet(f, hidden, order)


@pytest.mark.parametrize(("law", "inside"), [("box", jnp.abs), ("ball", lambda a: jnp.linalg.norm(a, axis=1))])
def test_units_fill_the_band_and_scale_with_it(law, inside):
    unit = sample_hidden(jax.random.key(0), 500, 2, law=law)
    wide = sample_hidden(jax.random.key(0), 500, 2, law=law, lam=3.0, beta=5.0)
    np.testing.assert_allclose(wide.a, 3 * unit.a, rtol=1e-6)
    np.testing.assert_allclose(wide.b, 5 * unit.b, rtol=1e-6)
    assert 0.9 < inside(unit.a).max() <= 1
    assert jnp.std(sample_hidden(jax.random.key(1), 4000, 2, law="gaussian", lam=3.0).a) == pytest.approx(3, rel=0.05)


def test_streamed_and_permuted_nets_are_the_same(x64):
    hidden, c = sample_hidden(jax.random.key(0), 13, 2, dtype=jnp.float64), jnp.arange(26.0).reshape(13, 2)
    x, order = jax.random.normal(jax.random.key(1), (5, 2)), jax.random.permutation(jax.random.key(2), 13)
    truth = hidden_features(hidden, x, jnp.tanh) @ c
    np.testing.assert_allclose(random_net_apply(hidden, c, x, jnp.tanh, block=4), truth, rtol=1e-12)
    moved = jax.tree.map(lambda a: a[order], hidden)
    np.testing.assert_allclose(random_net_apply(moved, c[order], x, jnp.tanh), truth, rtol=1e-12)


@pytest.mark.parametrize("sampler", ["uniform", "density", "pool"])
def test_the_random_net_has_the_predicted_error(sampler, x64):
    f, transform = bell(1)
    window = Window(*box_quadrature(1, 6.0, 60))
    predicted = monte_carlo_error(
        transform,
        f(window.x),
        window,
        PAIR,
        lam=2.0,
        beta=10.0,
        sampler="uniform" if sampler == "uniform" else "density",
    )
    if sampler == "uniform":
        np.testing.assert_allclose([predicted.floor, predicted.constant], [0.04899, 31.0663], rtol=2e-4)

    def error(key):
        options = dict(lam=2.0, beta=10.0, sampler=sampler, cells=100)
        net = ridgelet_net(key, transform, 200, window, PAIR, **options)
        return jnp.sum(window.weights * (random_net_apply(*net, window.x, PAIR.activation) - f(window.x)) ** 2)

    errors = jax.jit(jax.vmap(error))(jax.random.split(jax.random.key(3), 200))
    spread = 4 * errors.std() / np.sqrt(len(errors))
    slack = 0 if sampler == "uniform" else 0.02 * predicted.constant / 200 + 1e-3  # cells and pools are not the density
    assert jnp.abs(errors.mean() - predicted.floor - predicted.constant / 200) < spread + slack


@pytest.mark.parametrize("sampler", ["uniform", "density"])
def test_the_random_net_is_unbiased_in_the_plane(sampler, x64):
    f, transform = bell(2, 2)
    window = Window(*box_quadrature(2, 4.0, 12))
    pair = gaussian_pair(2)
    options = dict(lam=2.0, beta=8.0)
    mean = jax.jit(
        jax.vmap(
            lambda key: random_net_apply(
                *ridgelet_net(key, transform, 64, window, pair, **options, sampler=sampler, cells=16),
                window.x,
                pair.activation,
            )
        )
    )(jax.random.split(jax.random.key(0), 300))
    floor = monte_carlo_error(transform, f(window.x), window, pair, **options, nodes=24).floor
    stderr = mean.std(0) / np.sqrt(300)
    gap = jnp.sum(window.weights * (mean.mean(0) - f(window.x)) ** 2)
    noise = jnp.sum(window.weights * stderr**2)
    assert jnp.abs(gap - floor) < 5 * (noise + 2 * jnp.sqrt(noise * floor))


def test_the_frontier_is_the_ridge_fit_of_many_features(x64):
    x = jnp.linspace(-1, 1, 12)[:, None]
    y = jnp.sin(4 * x[:, 0])
    hidden = sample_hidden(jax.random.key(0), 40, 1, lam=6.0, beta=np.pi, dtype=jnp.float64)
    features = hidden_features(hidden, x, jnp.cos) / np.sqrt(40)
    ridges = jnp.logspace(-6, 1, 8)
    frontier = budget_frontier(features @ features.T, y, ridges)
    assert (jnp.diff(frontier.error) > 0).all()
    assert (jnp.diff(frontier.norm) < 0).all()
    values, vectors = jnp.linalg.eigh(features @ features.T)
    along = (vectors.T @ y) ** 2
    for ridge, error, norm in zip(ridges, *frontier, strict=True):
        c = jnp.linalg.solve(features.T @ features + ridge * jnp.eye(40), features.T @ y)
        np.testing.assert_allclose([error, norm], [jnp.linalg.norm(y - features @ c), jnp.linalg.norm(c)], rtol=1e-6)
        np.testing.assert_allclose(error**2, jnp.sum((ridge / (values + ridge)) ** 2 * along), rtol=1e-8)
        residual = y - features @ c
        tight = dual_lower_bound(features, y, residual, norm, order=2)
        np.testing.assert_allclose(tight, error, rtol=1e-6)
        np.testing.assert_allclose(kernel_lower_bound(features @ features.T, y, residual, norm), error, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), order=st.sampled_from([1, 2]))
def test_no_net_within_the_budget_beats_the_certificate(seed, order):
    with jax.enable_x64(True):
        draw = np.random.default_rng(seed).normal
        features, y, h, c = (jnp.asarray(draw(size=shape)) for shape in ((8, 5), 8, 8, 5))
        budget = jnp.linalg.norm(c, order)
        bound = dual_lower_bound(features, y, h, budget, order=order)
        assert bound <= jnp.linalg.norm(y - features @ c) + 1e-12


def test_the_cosine_kernel_is_an_average_of_cosines_and_has_few_eigenvalues(x64):
    x = jax.random.normal(jax.random.key(0), (4, 2))
    hidden = sample_hidden(jax.random.key(1), 200_000, 2, lam=2.0, beta=np.pi, dtype=jnp.float64)
    features = hidden_features(hidden, x, jnp.cos)
    np.testing.assert_allclose(features @ features.T / 200_000, cosine_kernel(x, x, 2.0), atol=5 / np.sqrt(200_000))
    nodes, weights = box_quadrature(1, 1.0, 120)
    for lam, count in ((10.0, 6), (40.0, 25)):
        kernel = gram(lambda a, b, lam=lam: cosine_kernel(a, b, lam) * 2 * lam / jnp.pi, nodes)
        values = jnp.linalg.eigvalsh(jnp.sqrt(weights)[:, None] * kernel * jnp.sqrt(weights)[None])
        assert (values > 0.5).sum() == count


def test_interpolation_has_no_training_error_when_the_rank_is_full(x64):
    x = jnp.linspace(0, 1, 20)[:, None]
    y = jnp.sin(9 * x[:, 0])
    features = hidden_features(sample_hidden(jax.random.key(0), 20, 1, lam=60.0, dtype=jnp.float64), x, jnp.cos)
    error = [jnp.linalg.norm(features @ fit_readout(features, y, reg=reg) - y) for reg in (1e-6, 1e-10, 1e-14)]
    assert error[0] > error[1] > error[2]
    assert error[2] < 1e-6
    assert jnp.abs(features @ fit_readout(features, y, rcond=1e-13, reg=0.0) - y).max() < 1e-6


def test_rectifiers_do_not_see_the_scale_of_their_weights(x64):
    x = jax.random.normal(jax.random.key(0), (30, 2))
    y = jnp.sin(x[:, 0]) * x[:, 1]
    hidden = sample_hidden(jax.random.key(1), 12, 2, dtype=jnp.float64)

    def fitted(scale):
        units = Hidden(scale * hidden.a, scale * hidden.b)
        features = hidden_features(units, x, relu)
        return features @ fit_readout(features, y, reg=1e-3 * scale**2, relative=False)

    np.testing.assert_allclose(fitted(7.0), fitted(1.0), rtol=1e-9)


def test_a_sweep_equals_separate_fits_and_is_traced_once(x64):
    x, x_test = jnp.linspace(0, 1, 30)[:, None], jnp.linspace(0.01, 0.99, 20)[:, None]
    f = lambda x: jnp.sin(5 * x[:, 0])
    lams, key = jnp.array([1.0, 10.0]), jax.random.key(0)
    sweep = jax.jit(
        lambda lams: sweep_bandwidth(
            key, x, f(x), x_test, f(x_test), lams, jnp.tanh, widths=(5, 9), seeds=2, reg=1e-6, relative=False
        )
    )
    errors, norms = sweep(lams)
    for s, seed_key in enumerate(jax.random.split(key, 2)):
        for i, lam in enumerate(lams):
            for w, width in enumerate((5, 9)):
                hidden = sample_hidden(seed_key, 9, 1, lam=lam, dtype=jnp.float64)
                hidden = Hidden(hidden.a[:width], hidden.b[:width])
                c = fit_readout(hidden_features(hidden, x, jnp.tanh), f(x), reg=1e-6, relative=False)
                rest = random_net_apply(hidden, c, x_test, jnp.tanh) - f(x_test)
                np.testing.assert_allclose(errors[i, w, s], jnp.sqrt(jnp.mean(rest**2)), rtol=1e-6)
                np.testing.assert_allclose(norms[i, w, s], jnp.linalg.norm(c), rtol=1e-6)
    sweep(lams + 1)
    assert sweep._cache_size() == 1


def test_features_split_over_rows_and_units_reduce_without_a_gather(mesh2x4):
    hidden = sample_hidden(jax.random.key(0), 16, 3)
    x = jax.random.normal(jax.random.key(1), (8, 3))
    rows, units = jax.NamedSharding(mesh2x4, jax.P("data")), jax.NamedSharding(mesh2x4, jax.P("model"))
    square = lambda z: jnp.einsum("Nn,Nk->nk", z, z, precision="highest")
    both = jax.jit(lambda hidden, x: hidden_features(hidden, x, jnp.tanh))
    split = jax.device_put(hidden, units), jax.device_put(x, rows)
    assert both(*split).sharding.shard_shape((8, 16)) == (4, 4)
    assert "all-gather" not in both.lower(*split).compile().as_text()
    np.testing.assert_allclose(square(both(*split)), square(both(hidden, x)), rtol=1e-5, atol=1e-5)


def test_a_narrow_band_in_single_precision_needs_its_ridge():
    x = jnp.linspace(0, 1, 200)[:, None]
    y = jnp.sin(12 * x[:, 0])
    features = hidden_features(sample_hidden(jax.random.key(0), 100, 1), x, jax.nn.sigmoid)
    safe = fit_readout(features, y)
    assert jnp.isfinite(safe).all()
    assert jnp.linalg.norm(safe) < 1e4
    assert jnp.sqrt(jnp.mean((features @ safe - y) ** 2)) < 1


KEY, UNIT = jax.random.key(0), Hidden(jnp.ones((2, 1)), jnp.ones(2))
WINDOW = Window(jnp.ones((3, 1)), jnp.ones(3))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("count", lambda: sample_hidden(KEY, 0, 1)),
        ("lam", lambda: sample_hidden(KEY, 1, 1, lam=-1.0)),
        ("law", lambda: sample_hidden(KEY, 1, 1, law="levy")),
        ("x", lambda: hidden_features(UNIT, jnp.ones((3, 2)), relu)),
        ("coefficients", lambda: random_net_apply(UNIT, jnp.ones(3), jnp.ones((3, 1)), relu)),
        ("reg", lambda: fit_readout(jnp.ones((3, 2)), jnp.ones(3), reg=-1.0)),
        ("order", lambda: dual_lower_bound(jnp.ones((3, 2)), jnp.ones(3), jnp.ones(3), 1.0, order=3)),
        ("budget", lambda: dual_lower_bound(jnp.ones((3, 2)), jnp.ones(3), jnp.ones(3), -1.0)),
        ("y and h", lambda: kernel_lower_bound(jnp.ones((3, 3)), jnp.ones(3), jnp.ones(2), 1.0)),
        ("sampler", lambda: ridgelet_net(KEY, bell(1)[1], 3, WINDOW, PAIR, lam=1.0, beta=1.0, sampler="sobol")),
        ("lam", lambda: ridgelet_net(KEY, bell(1)[1], 3, WINDOW, PAIR, lam=0.0, beta=1.0)),
        ("target", lambda: monte_carlo_error(bell(1)[1], jnp.ones(2), WINDOW, PAIR, lam=1.0, beta=1.0)),
        ("lam", lambda: cosine_kernel(jnp.ones((1, 1)), jnp.ones((1, 1)), 0.0)),
    ],
)
def test_bad_arguments_are_named(name, call):
    with pytest.raises(ValueError, match=f"{name} must be"):
        call()


def test_bad_widths_are_named():
    x, y = jnp.ones((3, 1)), jnp.ones(3)
    for widths in ((), (0,)):
        with pytest.raises(ValueError, match="widths must be"):
            sweep_bandwidth(KEY, x, y, x, y, jnp.ones(1), relu, widths=widths)
