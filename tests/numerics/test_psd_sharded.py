"""Oracles: numpy's dense solve, the derivatives of `psd_solve`, and what the compiled program sends and holds."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import psd_solve, psd_solve_sharded


def draw(n, targets=(3,)):
    root = jax.random.normal(jax.random.key(0), (n, n // 2))
    return root @ root.T / n, jax.random.normal(jax.random.key(1), (n, *targets))


@pytest.mark.parametrize(("n", "block"), [(64, 3), (61, 4), (40, 256), (5, 1)])
def test_eight_devices_solve_what_numpy_solves(n, block, mesh8, x64):
    a, b = draw(n)
    x = psd_solve_sharded(a, b, 0.1, mesh=mesh8, block=block)
    np.testing.assert_allclose(x, np.linalg.solve(a + 0.1 * np.eye(n), b), rtol=1e-9, atol=1e-11)


def test_rows_lie_on_either_axis_of_a_larger_mesh(mesh2x4, x64):
    a, b = draw(24, ())
    truth = np.linalg.solve(a + 0.1 * np.eye(24), b)
    for axis in ("data", "model"):
        x = psd_solve_sharded(a, b, 0.1, mesh=mesh2x4, axis=axis, block=2)
        np.testing.assert_allclose(x, truth, rtol=1e-9, atol=1e-11)


def test_derivatives_are_those_of_one_device(mesh8, x64):
    a, b = draw(16)
    ours = lambda a, b, r: psd_solve_sharded(a, b, r, mesh=mesh8, block=2)
    theirs = lambda a, b, r: psd_solve((a + a.T) / 2, b, r)
    gradients = [
        jax.jit(jax.grad(lambda a, b, r, f=f: jnp.sum(jnp.sin(f((a + a.T) / 2, b, r))), (0, 1, 2)))(a, b, 0.1)
        for f in (ours, theirs)
    ]
    jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, rtol=1e-8, atol=1e-10), *gradients)


def test_no_device_holds_or_receives_the_matrix(mesh8):
    n, block = 512, 16
    split = lambda x: jax.device_put(x, jax.NamedSharding(mesh8, jax.P("data")))
    a, b = map(split, draw(n))
    solve = jax.jit(lambda a, b: psd_solve_sharded(a, b, 0.1, mesh=mesh8, block=block))
    compiled = solve.lower(a, b).compile()
    sizes = [
        math.prod(map(int, shape.split(",")))
        for line in compiled.as_text().splitlines()
        if re.search(r" (all-gather|all-reduce|all-to-all|collective-permute)(-start)?\(", line)
        for shape in re.findall(r"f32\[([\d,]+)\]", line.split("=", 1)[1].split("(", 1)[0] or line)
    ]
    assert max(sizes) <= n * block
    memory = compiled.memory_analysis()
    assert memory.argument_size_in_bytes < 4 * n**2 / 8 * 1.1
    assert memory.temp_size_in_bytes < 4 * n**2 / 2
    assert solve(a, b).sharding.is_equivalent_to(a.sharding, 2)


def test_a_matrix_that_is_not_positive_definite_is_refused(mesh8):
    with pytest.raises(ValueError, match="a \\+ ridge I must be positive definite"):
        psd_solve_sharded(-jnp.eye(16), jnp.ones(16), 0.5, mesh=mesh8, block=1)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ridge", dict(ridge=-1.0)),
        ("block", dict(block=0)),
        ("axis", dict(axis="model")),
        ("a", dict(a=jnp.ones((4, 3)))),
        ("b", dict(b=jnp.ones(3))),
        ("b", dict(b=jnp.full(4, jnp.nan))),
    ],
)
def test_bad_arguments_are_named(name, bad, mesh8):
    arguments = dict(a=jnp.eye(4), b=jnp.ones(4), ridge=1.0) | bad
    with pytest.raises(ValueError, match=f"^{name} must be"):
        psd_solve_sharded(**arguments, mesh=mesh8)
