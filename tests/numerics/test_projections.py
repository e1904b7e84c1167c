"""Oracles: the laws' second and fourth moments, orthogonality, exactness of the single row's law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlib_methods.numerics import orthogonal_rows, random_rows

SECOND = {"gaussian": 1, "orthogonal": 1, "rademacher": 1, "sphere": 1 / 5, "ball": 1 / 7, "box": 1 / 3}
FOURTH = {"gaussian": 3, "orthogonal": 3, "rademacher": 1, "sphere": 3 / 35, "ball": 3 / 63, "box": 1 / 5}


@pytest.mark.parametrize("law", SECOND)
def test_moments_are_those_of_the_law_within_five_standard_errors(law):
    rows = np.asarray(random_rows(jax.random.key(1), 20_000, 5, law=law), float)
    for power, truth in ((1, 0), (2, SECOND[law]), (4, FOURTH[law])):
        error = (rows**power).std(0) / np.sqrt(len(rows)) + 1e-6
        assert (np.abs((rows**power).mean(0) - truth) < 5 * error).all()
    products = rows[:, 0] * rows[:, 1]
    assert abs(products.mean()) < 5 * products.std() / np.sqrt(len(rows))


@pytest.mark.parametrize(("law", "largest"), [("sphere", 1), ("ball", 1)])
def test_bounded_laws_stay_in_their_body(law, largest):
    norms = np.linalg.norm(random_rows(jax.random.key(0), 1000, 3, law=law), axis=1)
    assert norms.max() <= largest + 1e-6
    assert norms.max() > 0.99 * largest
    assert np.abs(random_rows(jax.random.key(0), 1000, 3, law="box")).max() <= 1


@pytest.mark.parametrize("count", [3, 8, 21])
def test_rows_of_a_block_are_orthogonal_and_blocks_are_not(count, x64):
    rows = orthogonal_rows(jax.random.key(2), count, 8, norms="unit", dtype=jnp.float64)
    assert rows.shape == (count, 8)
    products = np.asarray(rows @ rows.T)
    same = np.arange(count)[:, None] // 8 == np.arange(count)[None] // 8
    np.testing.assert_allclose(products[same], np.eye(count)[same], atol=1e-14)
    assert count <= 8 or np.abs(products[~same]).max() > 0.1


def test_norms_are_chi_or_constant():
    draw = lambda norms: np.linalg.norm(orthogonal_rows(jax.random.key(3), 4096, 6, norms=norms), axis=1)
    np.testing.assert_allclose(draw("unit"), 1, rtol=1e-6)
    np.testing.assert_allclose(draw("sqrt"), np.sqrt(6), rtol=1e-6)
    assert stats.kstest(draw("chi"), stats.chi(6).cdf).pvalue > 1e-3


def test_the_first_row_of_a_block_is_gaussian_in_every_direction():
    first = jax.vmap(lambda key: orthogonal_rows(key, 2, 2)[0])(jax.random.split(jax.random.key(4), 4000))
    for direction in ([1.0, 0.0], [0.6, -0.8]):
        assert stats.kstest(np.asarray(first) @ direction, "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    "bad", [dict(count=0), dict(dim=0), dict(law="cauchy"), dict(dtype=jnp.int32), dict(count=2.0)]
)
def test_bad_arguments_are_named(bad):
    arguments = dict(count=4, dim=3) | bad
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        random_rows(jax.random.key(0), **arguments)


def test_bad_norms_are_named():
    with pytest.raises(ValueError, match="norms must be one of"):
        orthogonal_rows(jax.random.key(0), 4, 3, norms="l2")
