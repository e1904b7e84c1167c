"""Trained ensembles against automatic derivatives, closed forms and brute force; one device against eight and 2 x 4."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.infinite_width import (
    binary_inputs,
    descent_plan,
    empirical_ntk,
    ensemble_moments,
    exhaustive_test,
    limit_predictions,
    members_until,
    permutation_covariance,
    permutation_network_apply,
    permutation_network_init,
    permutation_network_train,
    permutation_prediction,
    permute_bits,
    random_binary_inputs,
    trained_predictions,
    training_eigenvalues,
    vote_accuracy,
)

KEY = jax.random.key(0)
PI = jnp.array([2, 0, 3, 1])
EVERY = binary_inputs(jnp.arange(1, 16), 4)
OPTIONS = ("width", "steps", "parametrization", "block", "dtype", "mesh", "axis", "width_axis")
predictions = jax.jit(trained_predictions, static_argnames=OPTIONS)


@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_training_is_descent_by_automatic_derivatives(parametrization, x64):
    options = dict(parametrization=parametrization, weight_std=1.3)
    start = permutation_network_init(KEY, 4, 8, **options, dtype=jnp.float64)
    x, y = jnp.eye(4), permute_bits(PI, jnp.eye(4))
    loss = lambda params: jnp.sum((permutation_network_apply(params, x, **options) - y) ** 2) / 2
    rate, slope = 0.02, jax.jit(jax.grad(loss))
    params = start
    for _ in range(5):
        params = jax.tree.map(lambda a, g: a - rate * g, params, slope(params))
    ours = permutation_network_train(start, PI, learning_rate=rate, steps=5, **options)
    for a, b in zip(ours, params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    assert loss(params) < loss(start)


def test_both_parametrizations_start_as_the_same_function(x64):
    x = 3.0 * EVERY
    draw = lambda p: permutation_network_init(KEY, 4, 50, parametrization=p, weight_std=1.3, dtype=jnp.float64)
    apply = lambda p: permutation_network_apply(draw(p), x, parametrization=p, weight_std=1.3)
    np.testing.assert_allclose(apply("ntk"), apply("standard"), rtol=1e-11)
    np.testing.assert_allclose(apply("ntk"), permutation_network_apply(draw("ntk"), EVERY, weight_std=1.3), rtol=1e-11)


def test_the_empirical_ntk_of_a_wide_network_is_the_kernel():
    """Width 20,000, within 2 % of the largest entry; its two eigenvalues are the training eigenvalues."""
    params = permutation_network_init(KEY, 4, 20_000)
    theta = jax.jit(lambda params: empirical_ntk(permutation_network_apply, params, jnp.eye(4)))(params)
    constant, rest = training_eigenvalues(4)
    kernel = rest * jnp.eye(4) + (constant - rest) / 4
    assert jnp.abs(theta - kernel).max() < 0.02 * kernel.max()


@pytest.mark.parametrize(("parametrization", "kernel"), [("ntk", "ntk"), ("standard", "nngp")])
def test_trained_members_have_the_mean_and_variance_of_their_kernel(parametrization, kernel):
    """600 members of width 1024: no output is off by 4.5 standard errors, and the other kernel is, by far."""
    members, width = 600, 1024
    plan = descent_plan(4, width, parametrization=parametrization)
    draw = lambda numbers: predictions(
        KEY, numbers, PI, EVERY, width=width, parametrization=parametrization, **plan._asdict()
    )
    moments = jax.jit(lambda: ensemble_moments(draw, members, chunk=20))()
    off = {}
    for candidate in ("ntk", "nngp"):
        truth = permutation_prediction(PI, EVERY, kernel=candidate)
        spread = jnp.sqrt(jnp.maximum(truth.variance, 1e-8) / members)[:, None]
        off[candidate] = float(jnp.abs((moments.mean - truth.mean) / spread).max())
    assert off.pop(kernel) < 4.5
    assert min(off.values()) > 8
    truth = permutation_prediction(PI, EVERY, kernel=kernel)
    pairs = EVERY.sum(1) > 1
    ratio = moments.variance[pairs].mean(1) / truth.variance[pairs]
    assert jnp.abs(ratio - 1).max() < 4.5 * (2 / (4 * members)) ** 0.5
    assert jnp.abs(moments.mean[~pairs] - truth.mean[~pairs]).max() < 1e-3
    assert moments.variance[~pairs].max() < 1e-6


def test_two_steps_of_descent_have_the_finite_time_statistics():
    members = 400
    draw = lambda numbers: predictions(KEY, numbers, PI, EVERY, width=1024, learning_rate=2.0, steps=2)
    moments = jax.jit(lambda: ensemble_moments(draw, members, chunk=20))()
    truth = permutation_prediction(PI, EVERY, t=2.0, learning_rate=2.0, dynamics="descent")
    assert jnp.abs((moments.mean - truth.mean) / jnp.sqrt(truth.variance / members)[:, None]).max() < 4.5
    assert jnp.abs(moments.variance.mean(1) / truth.variance - 1).max() < 4.5 * (2 / (4 * members)) ** 0.5


@pytest.mark.parametrize(("axis", "width_axis"), [("data", None), ("data", "model")])
def test_members_and_hidden_units_over_devices_give_the_same_values_and_gradients(
    axis, width_axis, mesh8, mesh2x4, x64
):
    """5 members and 30 units, which divide by no axis; only sums over units cross devices."""
    mesh = mesh8 if width_axis is None else mesh2x4
    options = dict(width=30, steps=4, dtype=jnp.float64, block=4)

    def outputs(rate, std, x, **where):
        members = jnp.arange(5)
        draw = lambda rate, std: trained_predictions(
            KEY, members, PI, x, learning_rate=rate, weight_std=std, **options, **where
        )
        loss = lambda rate, std: jnp.sum(jnp.cos(draw(rate, std)))
        return draw(rate, std), jax.grad(loss, (0, 1))(rate, std)

    split = jax.jit(functools.partial(outputs, mesh=mesh, axis=axis, width_axis=width_axis))
    for ours, truth in zip(
        jax.tree.leaves(split(0.7, 1.1, EVERY)), jax.tree.leaves(jax.jit(outputs)(0.7, 1.1, EVERY)), strict=True
    ):
        np.testing.assert_allclose(ours, truth, rtol=1e-10, atol=1e-12)
    members = jax.ShapeDtypeStruct((8,), jnp.int64, sharding=NamedSharding(mesh, P(axis)))
    whole = lambda members: predictions(
        KEY, members, PI, EVERY, learning_rate=0.7, mesh=mesh, axis=axis, width_axis=width_axis, **options
    )
    text = jax.jit(whole).lower(members).compile().as_text()
    assert "all-gather" not in text
    assert ("all-reduce" in text) == (width_axis is not None)


def test_members_do_not_depend_on_who_is_drawn_with_them(x64):
    draw = lambda numbers: predictions(
        KEY, jnp.asarray(numbers), PI, EVERY, width=20, learning_rate=0.7, steps=3, dtype=jnp.float64
    )
    np.testing.assert_allclose(draw([3, 0])[0], draw([2, 3])[1], rtol=1e-12)
    limit = lambda numbers: limit_predictions(KEY, jnp.array(numbers), PI, EVERY.astype(float))
    np.testing.assert_allclose(limit([3, 0])[0], limit([2, 3])[1], rtol=1e-12)


def test_limit_members_have_the_mean_and_joint_covariance_of_the_limit(x64):
    """20,000 draws, four outputs each: 5 standard errors for 120 entries."""
    x = EVERY.astype(float)
    drawn = np.asarray(jax.jit(lambda: limit_predictions(KEY, jnp.arange(20_000), PI, x))())
    truth, covariance = permutation_prediction(PI, x).mean, np.asarray(permutation_covariance(x))
    spread = np.sqrt(np.diagonal(covariance))
    assert (np.abs(drawn.mean(0) - truth) <= 5 * spread[:, None] / np.sqrt(20_000) + 1e-12).all()
    centred = drawn - np.asarray(truth)
    measured = np.einsum("csk,ctk->st", centred, centred) / (4 * 20_000)
    error = np.sqrt((np.outer(spread, spread) ** 2 + covariance**2) / (4 * 20_000))
    assert (np.abs(measured - covariance) <= 5 * error + 1e-12).all()


def test_streamed_moments_are_those_of_all_members_at_once(x64):
    table = jax.random.normal(KEY, (23, 3, 2))
    for chunk in (1, 5, 23, 100):
        moments = ensemble_moments(lambda numbers: table[numbers], 23, chunk=chunk)
        np.testing.assert_allclose(moments.mean, table.mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.variance, np.var(table, 0, ddof=1), rtol=1e-12)
        assert moments.members == 23
    assert not ensemble_moments(lambda numbers: table[numbers], 1).variance.any()


def test_single_precision_resolves_small_means_among_many_members():
    """A mean of 1e-4 of deviations of 0.05, to 1e-9."""
    draw = lambda numbers: (1e-4 + 0.05 * jnp.sin(1.3 * (numbers % 50_000)))[:, None, None].astype(jnp.float32)
    moments = jax.jit(lambda: ensemble_moments(draw, 200_000, chunk=1000))()
    each = np.asarray(draw(jnp.arange(200_000)), np.float64)
    assert moments.mean.dtype == jnp.float32
    np.testing.assert_allclose(moments.mean, each.mean(0), atol=1e-9)
    np.testing.assert_allclose(moments.variance, each.var(0), rtol=1e-5)


def test_the_first_ensemble_that_is_good_enough_is_found_whatever_the_chunk():
    x = random_binary_inputs(jax.random.key(1), 60, 8, 2)
    pi = jnp.asarray(np.random.default_rng(0).permutation(8))
    accuracy = jnp.array([0.5, 0.9, 1.0])
    draw = lambda numbers: limit_predictions(KEY, numbers, pi, x, kernel="nngp")
    each = jax.jit(draw)(jnp.arange(200))
    means = np.cumsum(each, 0) / np.arange(1, 201)[:, None, None]
    right = np.asarray(vote_accuracy(jnp.asarray(means), pi, x))
    truth = [1 + np.argmax(right >= a) for a in (0.5, 0.9, 1.0)]
    assert truth[0] > 1
    for chunk in (1, 7, 64):
        np.testing.assert_array_equal(members_until(draw, pi, x, accuracy, limit=300, chunk=chunk), truth)
    short = members_until(draw, pi, x, accuracy, limit=int(truth[1]), chunk=7)
    np.testing.assert_array_equal(short, [*truth[:2], np.inf])


def test_numbers_become_bits_and_permutations_move_them():
    x = np.asarray(binary_inputs(jnp.arange(32), 5))
    np.testing.assert_array_equal(x @ 2 ** np.arange(5), np.arange(32))
    pi = np.array([3, 1, 4, 0, 2])
    matrix = np.zeros((5, 5))
    matrix[pi, np.arange(5)] = 1
    np.testing.assert_array_equal(permute_bits(jnp.asarray(pi), jnp.asarray(x)), x @ matrix.T)


def test_random_inputs_have_m_ones_at_all_places_alike():
    """Four standard errors of 4000 inputs."""
    x = random_binary_inputs(jax.random.key(2), 4000, 9, 3)
    np.testing.assert_array_equal(x.sum(1), 3)
    assert jnp.abs(x.mean(0) - 1 / 3).max() < 4 * (2 / 9 / 4000) ** 0.5
    together = x.T @ x / 4000
    off = together[~np.eye(9, dtype=bool)]
    assert jnp.abs(off - 3 * 2 / (9 * 8)).max() < 4 * (1 / 12 / 4000) ** 0.5


@pytest.mark.parametrize("block", [7, 4096])
def test_the_exhaustive_test_counts_every_input_once(block):
    pi = jnp.array([1, 4, 0, 2, 5, 3])
    counts = [math.comb(6, m) for m in range(1, 7)]
    limit = lambda x: permutation_prediction(pi, x).mean
    test = jax.jit(lambda predict: exhaustive_test(predict, pi, block=block), static_argnums=0)
    np.testing.assert_array_equal(test(limit), counts)
    at_half = lambda x: limit(x) - 0.5
    np.testing.assert_array_equal(test(at_half), [*counts[:2], 0, 0, 0, 0])
    unmoved = lambda x: x - 0.5
    np.testing.assert_array_equal(test(unmoved), [0, *test(unmoved)[1:]])
    assert test(unmoved)[5] == 1


def test_a_trained_ensemble_learns_exactly():
    """Every input of four bits, from four examples."""
    plan = descent_plan(4, 256, parametrization="standard")
    options = dict(width=256, parametrization="standard", **plan._asdict())
    moments = jax.jit(
        lambda: ensemble_moments(lambda n: trained_predictions(KEY, n, PI, EVERY, **options), 400, chunk=40)
    )()
    table = jnp.concatenate([jnp.zeros((1, 4)), moments.mean])
    lookup = lambda x: table[(x @ 2.0 ** jnp.arange(4)).astype(int)]
    assert exhaustive_test(lookup, PI).sum() == 15


NET = dict(width=8, learning_rate=0.1, steps=1)
ONE = permutation_network_init(KEY, 4, 8)
BAD = [
    (lambda: binary_inputs(jnp.arange(3), 32), "k must be an integer, between 1 and 31"),
    (lambda: binary_inputs(jnp.array([-1]), 3), "numbers must be nonnegative"),
    (lambda: random_binary_inputs(KEY, 3, 4, 5), "m must be an integer, between 1 and 4"),
    (lambda: random_binary_inputs(KEY, 0, 4, 2), "count must be an integer"),
    (lambda: permutation_network_init(KEY, 4, 0), "width must be an integer"),
    (lambda: permutation_network_init(KEY, 4, 8, parametrization="mup"), "parametrization must be one of"),
    (lambda: permutation_network_init(KEY, 4, 8, weight_std=-1.0), "weight_std must be positive"),
    (lambda: permutation_network_apply(ONE, jnp.ones(3)), "x must be rows of 4 entries"),
    (lambda: permutation_network_train(ONE, PI[:3], learning_rate=0.1, steps=1), "permutation must be each of"),
    (lambda: permutation_network_train(ONE, jnp.arange(3), learning_rate=0.1, steps=1), "one of 4 places"),
    (lambda: permutation_network_train(ONE, PI, learning_rate=0.1, steps=-1), "steps must be an integer"),
    (lambda: permutation_network_train(ONE, PI, learning_rate=6.0, steps=1), "learning_rate must be below 5.41"),
    (lambda: descent_plan(4, 8, tolerance=1.0), "tolerance must be between 0 and 1"),
    (lambda: descent_plan(0, 8), "k must be an integer"),
    (lambda: trained_predictions(KEY, jnp.arange(2), PI, jnp.ones(4), **NET), "x must be rows of inputs"),
    (lambda: trained_predictions(KEY, jnp.arange(2), PI, EVERY, **NET, block=0), "block must be an integer"),
    (lambda: limit_predictions(KEY, jnp.arange(2), PI, 2 * EVERY), "x must be 0 or 1"),
    (lambda: ensemble_moments(lambda n: n, 0), "members must be an integer"),
    (lambda: ensemble_moments(lambda n: n, 1, chunk=0), "chunk must be an integer"),
    (lambda: members_until(lambda n: n, PI, EVERY, jnp.array([1.1]), limit=3), "accuracy must be above 0"),
    (lambda: members_until(lambda n: n, PI, EVERY, jnp.array([0.1]), limit=0), "limit must be an integer"),
    (lambda: vote_accuracy(jnp.ones((3, 4)), PI, EVERY), "mean must be rows for the inputs"),
    (lambda: exhaustive_test(lambda x: x, jnp.arange(21)), "at most 20 places"),
    (lambda: exhaustive_test(lambda x: x, PI, block=0), "block must be an integer"),
    (lambda: exhaustive_test(lambda x: x[:, :2], PI), r"predict\(x\) must be of shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_mesh_axes_are_named(mesh8):
    with pytest.raises(ValueError, match="axis must be one of 'data'"):
        trained_predictions(KEY, jnp.arange(2), PI, EVERY, **NET, mesh=mesh8)
    with pytest.raises(ValueError, match="width_axis must be one of 'data'"):
        trained_predictions(KEY, jnp.arange(2), PI, EVERY, **NET, mesh=mesh8, axis="data", width_axis="model")
