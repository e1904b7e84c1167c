"""Oracles: the stored features, whatever the blocks, devices and tiles; the path of a direct fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import (
    normal_equations,
    normal_equations_merge,
    normal_equations_path,
    normal_equations_solve,
    ridge_fit,
    ridge_path,
)

FREQUENCIES = jax.random.normal(jax.random.key(9), (3, 6))
features = lambda x: jnp.cos(jnp.einsum("nd,dk->nk", x, FREQUENCIES.astype(x.dtype)))


def draw(n):
    keys = jax.random.split(jax.random.key(0), 3)
    return jax.random.normal(keys[0], (n, 3)), jax.random.normal(keys[1], (n, 2)), jax.random.uniform(keys[2], (n,))


def assert_close(ours, truth, tolerance=1e-11):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, truth)


@pytest.mark.parametrize("block", [1, 4, 50])
def test_blocks_and_parts_add_up_to_the_stored_features(block, x64):
    x, y, w = draw(13)
    z = features(x)
    ours = normal_equations(features, x, y, w, block=block)
    assert_close(tuple(ours), ((z.T * w[None]) @ z, (z.T * w[None]) @ y, jnp.sum(w[:, None] * y**2), w.sum()))
    parts = [normal_equations(features, x[rows], y[rows], w[rows]) for rows in (slice(0, 5), slice(5, None))]
    assert_close(normal_equations_merge(*parts), ours)


def test_halves_of_wide_features_make_the_whole_matrix(x64):
    x, y, w = draw(5)
    lift = jax.random.normal(jax.random.key(3), (3, 1100))
    z = jnp.cos(x @ lift)
    ours = normal_equations(lambda x: jnp.cos(x @ lift), x, y, w, block=2)
    np.testing.assert_allclose(ours.gram, (z.T * w[None]) @ z, rtol=1e-12, atol=1e-12)


def test_solutions_and_paths_are_those_of_the_direct_fit(x64):
    x, y, w = draw(13)
    ridges = jnp.array([0.0, 0.1, 3.0])
    sums = normal_equations(features, x, y, w)
    truth, ours = ridge_path(features(x), y, ridges, w), normal_equations_path(sums, ridges)
    assert_close(ours.coefficients, truth.coefficients, 1e-9)
    assert_close((ours.norm, ours.degrees), (truth.norm, truth.degrees), 1e-9)
    assert_close(normal_equations_solve(sums, 0.1), ridge_fit(features(x), y, 0.1, w), 1e-9)
    residual = jnp.average(jnp.mean((y[None] - truth.predictions) ** 2, 2), axis=1, weights=jnp.tile(w[None], (3, 1)))
    assert_close(ours.train, residual, 1e-9)
    one = normal_equations_path(normal_equations(features, x, y[:, 0]), ridges)
    direct = ridge_path(features(x), y[:, 0], ridges)
    assert one.coefficients.shape == (3, 6)
    assert_close(one.gcv, direct.gcv, 1e-9)


@pytest.mark.parametrize(("mesh", "feature_axis", "n"), [("mesh8", None, 13), ("mesh2x4", "model", 16)])
def test_sharded_sums_and_gradients_equal_local_ones_and_only_reduce(mesh, feature_axis, n, request, x64):
    mesh = request.getfixturevalue(mesh)
    x, y, w = draw(n)

    def sums(scale, mesh=None, feature_axis=None):
        where = dict(block=3, mesh=mesh, feature_axis=feature_axis)
        return normal_equations(lambda x: features(scale * x), x, y, w, **where)

    loss = lambda *where: lambda scale: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(sums(scale, *where)))
    sharded = jax.jit(lambda s: (sums(s, mesh, feature_axis), jax.grad(loss(mesh, feature_axis))(s)))
    assert_close(sharded(0.7), (sums(0.7), jax.grad(loss())(0.7)))
    if n == 16:
        split = jax.device_put((x, y, w), jax.NamedSharding(mesh, jax.P("data")))
        fit = jax.jit(lambda x, y, w: normal_equations(features, x, y, w, mesh=mesh))
        text = fit.lower(*split).compile().as_text()
        assert "all-reduce" in text
        assert "all-gather" not in text


def test_memory_is_one_block_of_features_and_the_sums():
    x, y = jax.ShapeDtypeStruct((1_000_000, 3), jnp.float32), jax.ShapeDtypeStruct((1_000_000,), jnp.float32)
    lift = jax.random.normal(jax.random.key(0), (3, 4096))
    fit = jax.jit(lambda x, y: normal_equations(lambda x: jnp.cos(x @ lift), x, y, block=1024))
    analysis = fit.lower(x, y).compile().memory_analysis()
    assert analysis.temp_size_in_bytes + analysis.output_size_in_bytes < 2**20 * 300  # all features: 16 GB


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("x", dict(x=jnp.ones((0, 3)))),
        ("y", dict(y=jnp.ones(4))),
        ("weights", dict(weights=jnp.ones(4))),
        ("features", dict(features=lambda x: x.sum())),
    ],
)
def test_bad_arguments_are_named(name, bad):
    arguments = dict(features=features, x=jnp.ones((5, 3)), y=jnp.ones(5)) | bad
    with pytest.raises(ValueError, match=f"{name} must be"):
        normal_equations(**arguments)


def test_bad_ridges_and_sums_are_named():
    sums = normal_equations(features, jnp.ones((5, 3)), jnp.ones(5))
    for solve in (normal_equations_solve, normal_equations_path):
        with pytest.raises(ValueError, match="must be nonnegative"):
            solve(sums, jnp.full(() if solve is normal_equations_solve else 1, -1.0))
        with pytest.raises(ValueError, match="must be finite"):
            solve(sums._replace(gram=sums.gram * jnp.nan), jnp.ones(() if solve is normal_equations_solve else 1))
