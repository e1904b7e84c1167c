"""Random perceptrons beside the theory, within stated standard errors, and split over devices."""

import functools
import re

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


def test_layers_of_unequal_width_have_the_tensors_of_their_own_widths():
    """Widths 48, 24, 12: 5 standard errors and 10 % of the value, while those of equal widths are twice as large."""
    widths, options = (48, 24, 12), dict(activation="tanh", depth=3)
    with jax.enable_x64(True):
        kernel, relative = jnp.array(1.2), jnp.array(widths[:-1]) / widths[-1]
        theory = iw.single_input_recursion(SCALES, kernel, relative, **options)
        equal = iw.single_input_recursion(SCALES, kernel, **options)
    found = check(jax.random.key(1), SCALES, jnp.array(1.2), width=widths, networks=2000, chunk=100, **options)
    for name in iw.SingleInputTheory._fields:
        value, error = (float(getattr(estimate, name)) for estimate in found)
        truth, other = (float(getattr(tensors, name)[-1]) for tensors in (theory, equal))
        assert abs(value - truth) < 5 * error + 0.1 * abs(truth), name
        if "shift" not in name and name not in ("kernel", "ntk"):
            assert abs(value - other) > 10 * error, name


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


def test_tensors_of_several_inputs_split_over_eight_devices_are_the_same(mesh8):
    """Also no device gathers a tensor of four indices."""
    with jax.enable_x64(True):
        kernel = 0.5 * (np.eye(8) + np.ones((8, 8)))
        run = functools.partial(iw.multi_input_recursion, activation="tanh", depth=3, samples=50)
        key = jax.random.key(0)
        one = jax.jit(run)(SCALES, kernel, key)
        eight = jax.jit(functools.partial(run, mesh=mesh8)).lower(SCALES, kernel, key).compile()
        split = eight(SCALES, kernel, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), one, split)
    assert split.vertex.addressable_shards[0].data.shape == (3, 1, 8, 8, 8)
    gathered = re.findall(r"= f64\[([\d,]+)\]\S* all-gather", eight.as_text())
    assert max(sizes.count(",") for sizes in gathered) == 2


def test_bad_sizes_are_named():
    for options, message in (
        (dict(width=1, networks=4), "width"),
        (dict(width=4, networks=1), "networks"),
        (dict(width=4, networks=4, tensors="some"), "tensors"),
    ):
        with pytest.raises(ValueError, match=message):
            iw.ensemble_check(jax.random.key(0), SCALES, jnp.ones(()), activation="tanh", depth=2, **options)
