"""Oracles: the optimality conditions of k-means, and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import kmeans, nearest_row


def clouds(spread=0.1):
    centres = jnp.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    return jnp.repeat(centres, 30, axis=0) + spread * jax.random.normal(jax.random.key(0), (90, 2))


def test_nearest_row_is_the_argmin_of_all_distances():
    x, c = jax.random.normal(jax.random.key(0), (33, 4)), jax.random.normal(jax.random.key(1), (6, 4))
    brute = jnp.argmin(jnp.sum((x[:, None] - c[None]) ** 2, -1), 1)
    np.testing.assert_array_equal(nearest_row(x, c, block=5), brute)


@pytest.mark.parametrize("seed", range(5))
def test_lloyd_ends_where_each_centre_is_the_mean_of_its_rows(seed):
    x = jax.random.normal(jax.random.key(seed), (200, 3))
    centres, labels = kmeans(jax.random.key(seed), x, 7)
    for k in range(7):
        np.testing.assert_allclose(centres[k], x[labels == k].mean(0), atol=1e-5)
    np.testing.assert_array_equal(labels, nearest_row(x, centres))


@pytest.mark.parametrize("batch_size", [None, 32])
def test_separated_clouds_are_found(batch_size):
    centres, labels = kmeans(jax.random.key(3), clouds(), 3, batch_size=batch_size, iterations=50)
    assert [len(set(np.asarray(labels[30 * k : 30 * k + 30]).tolist())) for k in range(3)] == [1, 1, 1]
    np.testing.assert_allclose(np.sort(np.asarray(centres).sum(1)), [0, 10, 10], atol=0.3)


def test_a_cluster_for_every_row_leaves_no_error():
    x = clouds()[:12]
    centres, labels = kmeans(jax.random.key(0), x, 12)
    np.testing.assert_allclose(centres[labels], x, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kmeans(jax.random.key(0), x, 91), "at least num_clusters"),
        (lambda x: kmeans(jax.random.key(0), x, 0), "num_clusters must be"),
        (lambda x: kmeans(jax.random.key(0), x, 2, iterations=0), "iterations must be"),
        (lambda x: kmeans(jax.random.key(0), x, 2, batch_size=0), "batch_size must be"),
        (lambda x: kmeans(jax.random.key(0), x.at[1, 1].set(jnp.nan), 2), "x must be finite"),
        (lambda x: kmeans(jax.random.key(0), x[0], 2), "x must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(clouds())
