"""Oracles: the dense solve and its derivatives; the Nyström matrix written out; eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import gram, kernel_ridge_cg, kernel_ridge_fit, nystrom_eigh

KEY = jax.random.key(5)
gaussian = lambda scale: lambda a, b: jnp.exp(-scale * jnp.sum((a[:, None] - b[None]) ** 2, -1))


def draw(n):
    x = jax.random.normal(jax.random.key(0), (n, 2))
    return x, jnp.stack([jnp.sin(3 * x[:, 0]), 100 * x[:, 1] ** 2], 1), jax.random.uniform(jax.random.key(1), (n,))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_solution_and_its_derivatives_are_those_of_the_dense_matrix(weighted, x64):
    x, y, w = draw(40)
    w = w if weighted else None

    def matrix_free(scale, y, ridge):
        return kernel_ridge_cg(KEY, gaussian(scale), x, y, ridge, w, rank=15, tolerance=1e-12, block=16).coefficients

    dense = lambda scale, y, ridge: kernel_ridge_fit(gram(gaussian(scale), x), y, ridge, w)
    arguments = (0.4, y, 0.01)
    ours, truth = (
        jax.jit(lambda *a, f=f: (f(*a), jax.grad(lambda *b: jnp.sum(jnp.sin(f(*b))), (0, 1, 2))(*a)))(*arguments)
        for f in (matrix_free, dense)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), ours, truth)


def test_the_preconditioner_saves_steps_and_a_solution_that_is_not_there_yet_says_so(x64):
    x, y, _ = draw(120)
    solve = jax.jit(
        lambda rank: kernel_ridge_cg(KEY, gaussian(0.4), x, y, 1e-4, rank=rank, tolerance=1e-8, iterations=12),
        static_argnums=0,
    )
    assert solve(60).converged
    assert not solve(0).converged
    assert solve(0).residual.max() > 100 * solve(60).residual.max()
    with pytest.warns(RuntimeWarning, match="stopped at a relative residual of"):
        kernel_ridge_cg(KEY, gaussian(0.4), x, y, 1e-4, rank=0, tolerance=1e-8, iterations=2)


def test_the_nystrom_pairs_are_orthonormal_and_make_the_nystrom_matrix(x64):
    x, _, w = draw(30)
    matrix, root = gram(gaussian(0.4), x), jnp.sqrt(w)
    chosen = jax.random.choice(KEY, 30, (8,), replace=False)
    columns = matrix[:, chosen]
    truth = columns @ jnp.linalg.solve(columns[chosen], columns.T)
    for weights, expected in ((None, truth), (w, root[:, None] * truth * root[None])):
        vectors, values = nystrom_eigh(KEY, gaussian(0.4), x, 8, weights=weights)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(8), atol=1e-10)
        np.testing.assert_allclose((vectors * values[None]) @ vectors.T, expected, atol=1e-9)
        assert (jnp.diff(values) <= 0).all()
    assert jnp.linalg.eigvalsh(matrix - truth).min() > -1e-10


def test_copies_of_a_row_make_no_nan():
    x = jnp.ones((6, 2))
    vectors, values = nystrom_eigh(KEY, gaussian(1.0), x, 4)
    np.testing.assert_allclose((vectors * values[None]) @ vectors.T, np.ones((6, 6)), atol=1e-5)
    solution = kernel_ridge_cg(KEY, gaussian(1.0), x, jnp.ones(6), 1.0, rank=4)
    np.testing.assert_allclose(solution.coefficients, 1 / 7, rtol=1e-4)
    assert (kernel_ridge_cg(KEY, gaussian(1.0), x, jnp.zeros(6), 1.0, rank=4).coefficients == 0).all()


@pytest.mark.parametrize("n", [32, 29])
def test_eight_devices_agree_with_one_and_gather_nothing(n, mesh8, x64):
    x, y, w = draw(n)

    def solve(x, y, w, mesh=None):
        return kernel_ridge_cg(KEY, gaussian(0.4), x, y, 0.01, w, rank=8, tolerance=1e-11, block=4, mesh=mesh)

    sharded = jax.jit(lambda *a: solve(*a, mesh=mesh8))
    np.testing.assert_allclose(sharded(x, y, w).coefficients, solve(x, y, w).coefficients, rtol=1e-6, atol=1e-8)
    if n == 32:
        split = jax.device_put((x, y, w), jax.NamedSharding(mesh8, jax.P("data")))
        text = sharded.lower(*split).compile().as_text()
        assert "collective-permute" in text
        gathered = [line for line in text.splitlines() if "all-gather" in line]
        assert not any("[32,32]" in line or "[32,8]" in line for line in gathered)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ridge", dict(ridge=0.0)),
        ("rank", dict(rank=6)),
        ("tolerance", dict(tolerance=0.0)),
        ("iterations", dict(iterations=0)),
        ("y", dict(y=jnp.ones(4))),
        ("y", dict(y=jnp.full(5, jnp.nan))),
        ("weights", dict(weights=jnp.full(5, -1.0))),
    ],
)
def test_bad_arguments_are_named(name, bad):
    arguments = dict(x=jnp.ones((5, 2)), y=jnp.ones(5), ridge=1.0, rank=2) | bad
    with pytest.raises(ValueError, match=f"{name} must be"):
        kernel_ridge_cg(KEY, gaussian(1.0), **arguments)
