"""Oracles: the same sums taken at once; one device against eight and two by four."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxlib_methods.numerics import (
    covariance,
    fit_gaussian,
    gaussian_covariance,
    moments,
    moments_merge,
    pad_rows,
    reduce_rows,
    softmax_merge,
    softmax_part,
    softmax_result,
)


@settings(deadline=None, max_examples=8)
@given(
    n=st.sampled_from([1, 13, 40]),
    d=st.sampled_from([1, 4]),
    block=st.sampled_from([1, 6, 50]),
    seed=st.integers(0, 99),
)
def test_streamed_moments_equal_the_direct_ones(n, d, block, seed):
    with jax.enable_x64(True):
        x = 1e3 + jax.random.normal(jax.random.key(seed), (n, d))
        m = jax.jit(moments, static_argnames="block")(x, block=block)
        np.testing.assert_allclose(m.mean, np.mean(x, 0), rtol=1e-13)
        np.testing.assert_allclose(covariance(m), np.cov(x.T, ddof=0).reshape(d, d), atol=1e-9)


def test_a_large_mean_costs_no_digits_in_float32():
    noise = np.random.default_rng(0).normal(size=(4096, 3))
    m = moments(jnp.asarray(noise + 1e3, jnp.float32), block=256)
    np.testing.assert_allclose(
        covariance(m), np.cov((noise + 1e3).astype(np.float32).T.astype(float), ddof=0), atol=2e-5
    )


def test_weights_act_as_repetition_and_merging_is_associative(x64):
    x = jax.random.normal(jax.random.key(0), (5, 3))
    times = jnp.array([1.0, 3.0, 0.0, 2.0, 1.0])
    repeated = moments(jnp.repeat(x, times.astype(int), axis=0, total_repeat_length=7))
    for ours in (moments(x, times, block=2), moments_merge(moments(x[:3], times[:3]), moments(x[3:], times[3:]))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), ours, repeated)


def test_half_precision_is_summed_in_single():
    assert moments(jnp.ones((4, 2), jnp.bfloat16)).scatter.dtype == jnp.float32


@pytest.mark.parametrize("n", [64, 61])
def test_moments_on_eight_devices_equal_one_and_only_reduce(n, mesh8):
    x = jax.random.normal(jax.random.key(0), (n, 6)) + 5
    sharded = jax.jit(lambda x: moments(x, block=3, mesh=mesh8))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-4), sharded(x), moments(x))
    if n == 64:
        x = jax.device_put(x, jax.NamedSharding(mesh8, jax.P("data")))
        text = sharded.lower(x).compile().as_text()
        assert "all-reduce" in text
        assert "all-gather" not in text


@pytest.mark.parametrize("d", [8, 7])
def test_scatter_columns_split_over_a_second_axis(d, mesh2x4):
    x = jax.random.normal(jax.random.key(0), (31, d))
    sharded = jax.jit(lambda x: moments(x, block=4, mesh=mesh2x4, feature_axis="model"))(x)
    np.testing.assert_allclose(sharded.scatter, jax.jit(moments)(x).scatter, rtol=2e-5, atol=1e-4)
    if d == 8:
        assert sharded.scatter.sharding.shard_shape(sharded.scatter.shape) == (8, 2)
    fitted = fit_gaussian(x, mesh=mesh2x4, feature_axis="model")
    np.testing.assert_allclose(gaussian_covariance(fitted), gaussian_covariance(fit_gaussian(x)), atol=1e-5)


@functools.partial(jax.jit, static_argnames="block")
def streamed_softmax(logits, values, block):
    summarise = lambda rows: softmax_part(rows[0].T, rows[1])
    return softmax_result(reduce_rows(summarise, softmax_merge, (logits.T, values), block=block))


@settings(deadline=None, max_examples=8)
@given(
    n=st.sampled_from([1, 7, 30]),
    block=st.sampled_from([1, 4, 40]),
    scale=st.sampled_from([1.0, 1e3]),
    seed=st.integers(0, 99),
)
def test_online_softmax_equals_softmax(n, block, scale, seed):
    with jax.enable_x64(True):
        logits = scale * jax.random.normal(jax.random.key(seed), (3, n))
        values = jax.random.normal(jax.random.key(seed + 1), (n, 2))
        average, log_sum = streamed_softmax(logits, values, block=block)
        np.testing.assert_allclose(average, jax.nn.softmax(logits) @ values, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(log_sum, jax.nn.logsumexp(logits, axis=1), rtol=1e-12)


def test_online_softmax_gradients_equal_those_of_softmax(x64):
    logits, values = jax.random.normal(jax.random.key(0), (11, 3)), jax.random.normal(jax.random.key(1), (11, 2))

    def streamed(logits, values):
        average, log_sum = streamed_softmax(logits.T, values, block=4)
        return jnp.sum(jnp.sin(average)) + jnp.sum(log_sum**2)

    def direct(logits, values):
        return jnp.sum(jnp.sin(jax.nn.softmax(logits.T) @ values)) + jnp.sum(jax.nn.logsumexp(logits, axis=0) ** 2)

    ours, truth = (jax.jit(jax.grad(f, (0, 1)))(logits, values) for f in (streamed, direct))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), ours, truth)


def test_masked_entries_and_masked_blocks_leave_no_trace():
    logits = jnp.array([[-jnp.inf, -jnp.inf, 0.0, jnp.log(3.0)]])
    values = jnp.arange(4.0)[:, None]
    parts = [softmax_part(logits[:, i : i + 2], values[i : i + 2]) for i in (0, 2)]
    for order in (parts, parts[::-1]):
        average, log_sum = softmax_result(softmax_merge(*order))
        np.testing.assert_allclose(average, [[2.75]], rtol=1e-6)
        np.testing.assert_allclose(log_sum, [np.log(4)], rtol=1e-6)


def test_each_block_is_traced_once_for_all_whole_blocks_and_once_for_the_rest():
    shapes = []

    def summarise(rows):
        shapes.append(rows.shape)
        return rows.sum()

    reduce_rows(summarise, jnp.add, jnp.ones((103, 2)), block=10)
    assert set(shapes) == {(10, 2), (3, 2)}


@pytest.mark.parametrize("bad", [dict(rows=jnp.ones((0, 2)), block=4), dict(rows=jnp.ones((3, 2)), block=0)])
def test_empty_rows_and_blocks_are_refused(bad):
    with pytest.raises(ValueError, match="must be an integer, at least 1"):
        reduce_rows(jnp.sum, jnp.add, bad["rows"], block=bad["block"])


def test_padding_appends_zero_rows_and_says_which_are_real():
    padded, mask = pad_rows(jnp.ones((5, 2), jnp.int32), 4)
    assert padded.dtype == jnp.int32
    np.testing.assert_array_equal(padded.sum(1), [2, 2, 2, 2, 2, 0, 0, 0])
    np.testing.assert_array_equal(mask, [1, 1, 1, 1, 1, 0, 0, 0])
