"""Random perceptrons beside the theory, within stated standard errors, and split over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

SCALES = iw.LayerScales(0.1, 1.5, 0.7, 0.9)


@functools.partial(jax.jit, static_argnames=("activation", "depth", "width", "networks", "tensors", "mesh", "chunk"))
def check(key, scales, kernel, **options):
    return iw.ensemble_check(key, scales, kernel, **options)


def test_all_tensors_lie_within_five_standard_errors_and_the_next_order():
    """Depth 2, where the next order is small: 5 errors and 15 % of the value at width 16."""
    with jax.enable_x64(True):
        theory = iw.single_input_recursion(SCALES, jnp.array(1.2), activation="tanh", depth=2)
    found = check(
        jax.random.key(1), SCALES, jnp.array(1.2), activation="tanh", depth=2, width=16, networks=1000, chunk=50
    )
    for name in iw.SingleInputTheory._fields:
        truth = float(getattr(theory, name)[-1])
        gap = abs(float(getattr(found.mean, name)) - truth)
        assert gap < 5 * float(getattr(found.error, name)) + 0.15 * abs(truth), name


@pytest.mark.parametrize(("name", "weight", "exact"), [("linear", 1.0, 2), ("relu", 2.0, 5)])
def test_the_second_moment_grows_exactly(name, weight, exact):
    """E G^2 / K^2 = (1 + c / n)^(L - 1), four standard errors."""
    found = check(
        jax.random.key(0),
        iw.LayerScales(0.0, weight),
        jnp.ones(()),
        activation=name,
        depth=4,
        width=12,
        networks=8000,
        tensors="kernel",
        chunk=1000,
    )
    truth = 12 * ((1 + exact / 12) ** 3 - 1)
    assert abs(found.mean.vertex - truth) < 4 * found.error.vertex
    assert found.error.vertex < 0.2 * truth
    assert found.mean.ntk is None


def test_eight_devices_measure_what_one_does(mesh8):
    options = dict(activation="tanh", depth=2, width=4, networks=13, chunk=2)
    run = functools.partial(check, jax.random.key(2), SCALES, jnp.array(1.2), **options)
    one, eight = run(), run(mesh=mesh8)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), one, eight)


def test_bad_sizes_are_named():
    for options, message in (
        (dict(width=1, networks=4), "width"),
        (dict(width=4, networks=1), "networks"),
        (dict(width=4, networks=4, tensors="some"), "tensors"),
    ):
        with pytest.raises(ValueError, match=message):
            iw.ensemble_check(jax.random.key(0), SCALES, jnp.ones(()), activation="tanh", depth=2, **options)
