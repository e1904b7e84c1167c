"""Oracles: exactness for matrices of low rank, the dense eigendecomposition, orthonormality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import randomized_eigh


def operator(spectrum, seed=0):
    q = jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (spectrum.size, spectrum.size)))[0]
    return (q * spectrum[None]) @ q.T


def test_a_matrix_of_low_rank_is_found_exactly(x64):
    a = operator(jnp.array([5.0, 3.0, 1.0] + [0.0] * 37))
    values, vectors = randomized_eigh(jax.random.key(1), lambda q: a @ q, 40, 3, iterations=1, dtype=a.dtype)
    np.testing.assert_allclose(values, [5, 3, 1], rtol=1e-10)
    np.testing.assert_allclose((vectors * values[None]) @ vectors.T, a, atol=1e-10)


def test_iterations_sharpen_a_slowly_decaying_spectrum(x64):
    a = operator(1 / (1 + jnp.arange(100.0)))
    truth = 1 / (1 + np.arange(5.0))
    error = [
        np.abs(
            randomized_eigh(jax.random.key(1), lambda q: a @ q, 100, 5, iterations=i, dtype=a.dtype)[0] - truth
        ).max()
        for i in (1, 3, 9)
    ]
    assert error[0] > 10 * error[1] > 100 * error[2]


def test_vectors_are_orthonormal_and_all_directions_can_be_asked_for():
    a = operator(jnp.arange(1.0, 9.0))
    values, vectors = randomized_eigh(jax.random.key(1), lambda q: a @ q, 8, 8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(values, np.arange(8, 0, -1), rtol=1e-5)


@pytest.mark.parametrize("bad", [dict(rank=0), dict(rank=9), dict(oversample=-1), dict(iterations=0), dict(dim=0)])
def test_bad_sizes_are_named(bad):
    sizes = dict(dim=8, rank=2) | bad
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        randomized_eigh(jax.random.key(0), lambda q: q, **sizes)
