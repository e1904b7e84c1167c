"""Closed forms of networks trained on basis vectors against dense linear algebra, printed numbers, limits and draws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_ndtr

from jaxlib_methods.infinite_width import (
    PermutationStatistics,
    activation,
    dense,
    ensemble_size,
    members_needed,
    network_kernel,
    ntk_posterior,
    permutation_covariance,
    permutation_prediction,
    permutation_statistics,
    permute_bits,
    serial,
    training_eigenvalues,
    vote_probability,
)

statistics = jax.jit(permutation_statistics, static_argnames=("kernel", "dynamics"))
needed = jax.jit(members_needed, static_argnames=("inputs", "rule"))
probability = jax.jit(vote_probability)
size_of = jax.jit(ensemble_size, static_argnums=0, static_argnames=("inputs", "rule"))
B = 1 / (2 * math.pi)
PAIRS = np.array([(k, m) for k in (1, 2, 3, 8, 17, 40) for m in range(1, k + 1)])
K, M = PAIRS.T


def dense_algebra(k, m, kernel, learned):
    """Statistics by matrices: means of one output of each kind, variance; `learned` gives I - e^(-t Theta)."""
    both = lambda c: (
        np.array([np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c, np.sqrt(1 - c**2) + 2 * (np.pi - np.arccos(c)) * c])
        / (2 * np.pi)
    )
    x = np.arange(k) < m
    inside, across = both(np.eye(k)) / k, both(x / np.sqrt(m)) / k
    theta, theta_x = (inside[1], across[1]) if kernel == "ntk" else (inside[0], across[0])
    c = theta_x @ np.linalg.solve(theta, learned(theta))
    variance = 0.5 / k + c @ inside[0] @ c - 2 * c @ across[0]
    return c[0], c[-1], variance


def decay(theta, function):
    values, vectors = np.linalg.eigh(theta)
    return np.eye(len(theta)) - vectors @ np.diag(function(values)) @ vectors.T


def check(ours, truth):
    """Zeros are not asked about where there are none."""
    truth = np.array(truth).T
    np.testing.assert_allclose(ours.ones, truth[0], atol=1e-12)
    np.testing.assert_allclose(ours.zeros[M < K], truth[1][M < K], atol=1e-12)
    np.testing.assert_allclose(ours.variance, truth[2], atol=1e-12)


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_closed_forms_are_those_of_dense_solves_for_every_number_of_ones(kernel, x64):
    forever = [dense_algebra(k, m, kernel, lambda theta: np.eye(len(theta))) for k, m in PAIRS]
    check(statistics(K, M, kernel=kernel), forever)
    flow = lambda theta: decay(theta, lambda values: np.exp(-0.7 * 30 * values))
    ours = statistics(K, M, kernel=kernel, t=30.0, learning_rate=0.7)
    check(ours, [dense_algebra(k, m, kernel, flow) for k, m in PAIRS])
    wide = statistics(K, M, kernel=kernel, t=30.0, learning_rate=0.7 / 1.3**4, weight_std=1.3)
    np.testing.assert_allclose(wide.zeros, ours.zeros, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(wide.variance, 1.3**4 * ours.variance, rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_descent_is_the_iterated_matrix(steps, x64):
    power = lambda theta: np.eye(len(theta)) - np.linalg.matrix_power(np.eye(len(theta)) - 1.9 * theta, steps)
    ours = statistics(K, M, t=float(steps), learning_rate=1.9, dynamics="descent")
    check(ours, [dense_algebra(k, m, "ntk", power) for k, m in PAIRS])


PRINTED = [
    ("ntk", 5, 2, 0.560632, -0.014640, 0.0132347),
    ("ntk", 8, 2, 0.563939, -0.0113334, 0.0081850),
    ("ntk", 10, 2, 0.565422, -0.0098503, 0.0065187),
    ("ntk", 10, 3, 0.421561, -0.021549, 0.0091480),
    ("ntk", 14, 2, 0.567465, -0.0078070, 0.0046288),
    ("ntk", 20, 2, 0.56932, -0.00595, 0.00322),
    ("ntk", 30, 2, 0.571005, -0.0042667, 0.0021397),
    ("ntk", 1000, 2, 0.575122, -0.000150, 0.000064),
    ("nngp", 5, 2, 0.601657, -0.0395428, 0.0128767),
    ("nngp", 8, 2, 0.613354, -0.0278456, 0.0079072),
    ("nngp", 10, 2, 0.617941, -0.0232588, 0.0062816),
    ("nngp", 14, 2, 0.623704, -0.0174951, 0.0044472),
    ("nngp", 30, 2, 0.632413, -0.0087861, 0.0020474),
]


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_statistics_have_the_sheets_values(kernel, x64):
    """To the last digit; the row of three ones is 6e-6 off in the sheet, against linear algebra."""
    k, m, *values = (np.array(a) for a in zip(*(row[1:] for row in PRINTED if row[0] == kernel), strict=True))
    for ours, printed in zip(statistics(k, m, kernel=kernel), values, strict=True):
        error = np.where((k == 20) | (k == 1000) | (m == 3), 6e-6, 6e-7)
        assert (np.abs(ours - printed) < error).all()


def test_an_early_stop_is_not_exact(x64):
    """True zeros come out positive at first, and negative only late."""
    ours = statistics(6, 2, t=np.array([1.0, 5.0, 20.0, 100.0]))
    np.testing.assert_allclose(ours.ones, [0.096299, 0.331666, 0.538225, 0.561929], atol=1e-6)
    np.testing.assert_allclose(ours.zeros, [0.021074, 0.041864, -0.002163, -0.013342], atol=1e-6)
    np.testing.assert_allclose(ours.variance, [0.057801, 0.022140, 0.011424, 0.010982], atol=1e-6)


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_training_begins_at_the_initial_network_and_ends_at_the_limit(kernel, x64):
    start, end = (statistics(K, M, kernel=kernel, t=t) for t in (0.0, 1e5))
    np.testing.assert_array_equal(start.ones, 0)
    np.testing.assert_array_equal(start.zeros, 0)
    np.testing.assert_allclose(start.variance, 1 / (2 * K), rtol=1e-12)
    for ours, truth in zip(end, statistics(K, M, kernel=kernel), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-11, atol=1e-16)
    times = np.geomspace(0.01, 1e4, 200)[:, None]
    assert (statistics(K[None], M[None], kernel=kernel, t=times).variance >= 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_training_points_are_met_exactly(dtype, x64):
    k = np.arange(1, 201).astype(dtype)
    for kernel in ("ntk", "nngp"):
        ours = statistics(k, dtype(1), kernel=kernel)
        assert ours.ones.dtype == dtype
        np.testing.assert_array_equal(ours.ones, 1)
        np.testing.assert_array_equal(ours.zeros, 0)
        np.testing.assert_array_equal(ours.variance, 0)


def test_means_have_the_right_signs_their_limit_and_their_sum(x64):
    k, m = (a.ravel() for a in np.meshgrid(np.arange(3, 201), np.arange(2, 200), indexing="ij"))
    k, m = k[m < k], m[m < k]
    for kernel in ("ntk", "nngp"):
        ours = statistics(k, m, kernel=kernel)
        assert (ours.ones > 0).all()
        assert (ours.zeros < 0).all()
        assert (ours.variance > 0).all()
    many = statistics(2000, 2)
    assert abs(-many.zeros * 2000 / 0.15054 - 1) < 0.01
    assert abs(many.ones / 0.5753 - 1) < 0.01
    assert abs(many.variance * 2000 / 0.0636 - 1) < 0.01
    theta = np.arccos(1 / np.sqrt(m))
    g = B * (np.sqrt(1 - 1 / m) + 2 * (np.pi - theta) / np.sqrt(m))
    ours, a = statistics(k, m), 1 - B
    total = (m * g + (k - m) * B) / (a + B * k)
    np.testing.assert_allclose(m * ours.ones + (k - m) * ours.zeros, total, rtol=1e-12)


def test_single_precision_keeps_the_digits_of_small_means(x64):
    k, m = np.array([200.0, 2000.0, 2e5]), 2.0
    for t in (None, 50.0, 1e6):
        truth, ours = (statistics(k.astype(d), d(m), t=None if t is None else d(t)) for d in (np.float64, np.float32))
        for double, single in zip(truth, ours, strict=True):
            np.testing.assert_allclose(single, double, rtol=1e-5)


def test_relabelled_inputs_and_outputs_give_relabelled_predictions(x64):
    rng = np.random.default_rng(0)
    pi, s = jnp.asarray(rng.permutation(7)), jnp.asarray(rng.permutation(7))
    x = jnp.asarray(rng.integers(0, 2, (20, 7)))
    predict = jax.jit(permutation_prediction, static_argnames="normalise")
    moved, plain = predict(pi, permute_bits(s, x)), predict(jnp.arange(7), x)
    np.testing.assert_array_equal(moved.mean, predict(pi[s], x).mean)
    np.testing.assert_array_equal(predict(pi, x).mean, permute_bits(pi, plain.mean))
    raw, m = predict(pi, x, normalise=False), x.sum(1)
    np.testing.assert_allclose(raw.mean, jnp.sqrt(m)[:, None] * predict(pi, x).mean, rtol=1e-14)
    np.testing.assert_allclose(raw.variance, m * plain.variance, rtol=1e-13)
    nothing = predict(pi, 0 * x)
    assert not nothing.mean.any()
    assert not nothing.variance.any()


def test_the_kernel_algebra_of_any_network_gives_the_same_mean_and_covariance(x64):
    """Kernels of the layers, their spectrum, solve and training time know nothing of permutations."""
    rng = np.random.default_rng(1)
    pi, x = jnp.asarray(rng.permutation(5)), jnp.asarray(1.0 * (rng.random((12, 5)) < 0.5)).at[:, 0].set(1)
    network, times = serial(dense(1, weight_std=1.2), activation("relu"), dense(1, weight_std=1.2)), (None, 3.0)

    @jax.jit
    def by_kernels(x):
        unit, basis = x / jnp.sqrt(x.sum(1, keepdims=True)), jnp.eye(5)
        inside, across, test = (
            network_kernel(network, *pair, get="both") for pair in ((basis,), (unit, basis), (unit,))
        )
        y = permute_bits(pi, basis)
        posterior = lambda t: ntk_posterior(inside, across, test.nngp, y, t, learning_rate=float(y.size))
        return [posterior(t) for t in times], jnp.linalg.eigvalsh(inside.ntk)

    @jax.jit
    def closed(x):
        options = [dict(t=t, weight_std=1.2) for t in times]
        return [(permutation_prediction(pi, x, **o), permutation_covariance(x, **o)) for o in options]

    posteriors, values = by_kernels(x)
    for truth, (prediction, covariance) in zip(posteriors, closed(x), strict=True):
        np.testing.assert_allclose(prediction.mean, truth.mean, atol=1e-12)
        np.testing.assert_allclose(covariance, truth.covariance, atol=1e-12)
        np.testing.assert_allclose(prediction.variance, jnp.diagonal(truth.covariance), atol=1e-12)
    ours = training_eigenvalues(5, weight_std=1.2)
    np.testing.assert_allclose(values, [*[ours.rest] * 4, ours.constant], rtol=1e-12)


def test_votes_of_gaussian_members_are_right_as_often_as_said(x64):
    """Four standard errors of 40,000 ensembles; outputs are independent."""
    k, m, ensembles = 6, 2, 40_000
    one = statistics(k, m)
    rng = np.random.default_rng(0)
    for members in (10, 40, 160):
        spread = np.sqrt(one.variance / members)
        means = np.where(np.arange(k) < m, one.ones, one.zeros) + spread * rng.normal(size=(ensembles, k))
        right = np.mean(((means > 0) == (np.arange(k) < m)).all(1))
        p = float(jnp.exp(probability(one, k, m, members).log_success))
        assert abs(right - p) < 4 * np.sqrt(p * (1 - p) / ensembles)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_keep_their_digits_at_both_ends(dtype, x64):
    """Down to exp(-1e5), against scipy's tails; small failures add."""
    members = np.array([0.01, 0.5, 3, 30, 300, 3000, 1e5, 1e7])
    z = np.sqrt(members) * np.array([[3.0], [0.2]]) / np.sqrt(0.01)
    one = PermutationStatistics(*(jnp.asarray(a, dtype) for a in (3.0, -0.2, 0.01)))
    ours = probability(one, 5, 2, members.astype(dtype))
    success = 2 * log_ndtr(z[0]) + 3 * log_ndtr(z[1])
    failure = np.where(success < -1e-9, np.log(-np.expm1(np.minimum(success, -1e-9))), np.log(3) + log_ndtr(-z[1]))
    rtol = 1e-9 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(ours.log_failure, failure, rtol=rtol)
    np.testing.assert_allclose(ours.log_success, success, rtol=10 * rtol, atol=1e-30)


def test_without_variance_a_sign_is_certain(x64):
    ones, zeros = np.array([1.0, 1.0, -1.0, 1.0]), np.array([-1.0, 0.0, -1.0, 1.0])
    one = PermutationStatistics(*(jnp.asarray(a) for a in (ones, zeros, np.zeros(4))))
    np.testing.assert_array_equal(jnp.exp(probability(one, 4, 2, 1).log_success), [1, 1, 0, 0])
    np.testing.assert_array_equal(needed(one, 4, 2, 0.1, rule="tight")[:2], 1)


TARGETS = {
    "k": [3, 4, 5, 6, 8, 10, 12, 15, 18, 20, 25, 30],
    ("nngp", 0.1): [12, 21, 28, 34, 46, 58, 70, 89, 108, 121, 155, 190],
    ("nngp", 0.001): [70, 84, 96, 108, 132, 156, 181, 219, 258, 284, 351, 419],
    ("ntk", 0.1): [112, 169, 205, 233, 284, 333, 381, 454, 528, 579, 708, 840],
    ("ntk", 0.001): [646, 685, 716, 748, 821, 902, 987, 1123, 1263, 1359, 1603, 1854],
}


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_exact_sizes_have_the_sheets_values_and_are_the_least(kernel, x64):
    k, failure = np.array(TARGETS["k"])[None], np.array([[0.1], [0.001]])
    one = statistics(k, 2, kernel=kernel)
    sizes = needed(one, k, 2, failure)
    np.testing.assert_array_equal(sizes, [TARGETS[kernel, 0.1], TARGETS[kernel, 0.001]])
    fails = lambda members: jnp.exp(probability(one, k, 2, members).log_failure)
    assert (fails(sizes) <= failure).all()
    assert (fails(sizes - 1) > failure).all()
    tight, paper = (needed(one, k, 2, failure, rule=rule) for rule in ("tight", "paper"))
    assert (sizes <= tight).all()
    assert (tight <= paper).all()


def test_the_papers_rule_has_the_values_of_its_figure(x64):
    k = np.array([2, 3, 5, 10, 15, 20, 25, 30])
    ours = needed(statistics(k, 2), k, 2, 0.1, inputs=1000, rule="paper")
    np.testing.assert_allclose(ours, [6705, 5949, 5687, 6560, 7904, 9383, 10927, 12510], atol=1)
    np.testing.assert_allclose(ours, [6659, 5966, 5709, 6586, 7939, 9362, 10919, 12458], rtol=0.01)


@pytest.mark.parametrize("rule", ["paper", "tight", "exact"])
def test_two_ones_are_the_hardest_and_all_inputs_cost_a_factor_of_k(rule, x64):
    for k in (3, 12):
        two = needed(statistics(k, 2), k, 2, 1e-3, inputs="all", rule=rule)
        assert size_of(k, 1e-3, inputs="all", rule=rule) == two
    k = np.array([100.0, 1000.0])
    one, every = (needed(statistics(k, 2), k, 2, 1e-3, inputs=inputs, rule=rule) for inputs in ("one", "all"))
    np.testing.assert_allclose(every / one, 1 + k * np.log(2) / np.log((1 + (rule == "paper")) * k / 1e-3), rtol=0.25)
    assert size_of(1, 0.1, rule=rule) == 1
    assert jnp.isinf(needed(statistics(6, 2, t=1.0), 6, 2, 0.1, rule=rule))


def test_counting_inputs_by_their_ones_takes_fewer_members_and_bounds_all_failures(x64):
    """The union bound itself, by binomial coefficients; sizes grow a little faster than k."""
    m = np.arange(2, 9)
    size, all_alike = (size_of(8, 0.01, inputs=inputs) for inputs in ("alike", "all"))
    assert size < all_alike
    fails = np.exp(probability(statistics(8, m), 8, m, size).log_failure)
    assert sum(math.comb(8, ones) * p for ones, p in zip(m, fails, strict=True)) <= 0.01
    sizes = [size_of(k, 0.01, inputs="alike", rule="tight") for k in (100, 1000)]
    assert 1 < np.log10(sizes[1] / sizes[0]) < 1.25


def test_single_precision_counts_members_for_all_inputs_of_length_200():
    """2^-200 is below what float32 holds."""
    with jax.enable_x64(True):
        truth = needed(statistics(200.0, 2.0), 200.0, 2.0, 0.01, inputs="all")
    ours = needed(statistics(200.0, 2.0), 200.0, 2.0, 0.01, inputs="all")
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, truth, rtol=1e-4)


ONE = permutation_statistics(5, 2)
PI = jnp.array([1, 0, 2])
BAD = [
    (lambda: permutation_statistics(5, 0), "m must be at least 1"),
    (lambda: permutation_statistics(0, 1), "k must be positive"),
    (lambda: permutation_statistics(5, 2, kernel="cntk"), "kernel must be one of"),
    (lambda: permutation_statistics(5, 2, dynamics="momentum"), "dynamics must be one of"),
    (lambda: permutation_statistics(5, 2, t=-1.0), "t must be nonnegative"),
    (lambda: permutation_statistics(5, 2, t=jnp.nan), "t must be nonnegative"),
    (lambda: permutation_statistics(5, 2, learning_rate=-1.0), "learning_rate must be nonnegative"),
    (lambda: permutation_statistics(5, 2, weight_std=0.0), "weight_std must be positive"),
    (lambda: training_eigenvalues(-1), "k must be positive"),
    (lambda: permutation_prediction(jnp.array([0, 0, 1]), jnp.ones(3)), "permutation must be each of 0, ..., 2 once"),
    (lambda: permutation_prediction(jnp.ones(3), jnp.ones(3)), "permutation must be a vector of whole numbers"),
    (lambda: permutation_prediction(PI, jnp.ones(4)), "x must be rows of 3 entries"),
    (lambda: permutation_prediction(PI, jnp.array([1.0, 0.5, 0.0])), "x must be 0 or 1"),
    (lambda: permutation_covariance(jnp.array([[2.0, 0.0]])), "x must be 0 or 1"),
    (lambda: permutation_covariance(jnp.zeros((1, 2))), "m must be at least 1"),
    (lambda: permute_bits(PI, jnp.ones((2, 4))), "x must be rows of 3 entries"),
    (lambda: vote_probability(ONE, 5, 6, 10), "m must be at most k = 5"),
    (lambda: vote_probability(ONE, 5, 2, 0), "members must be positive"),
    (lambda: members_needed(ONE, 5, 2, 0.0), "failure must be between 0 and 1"),
    (lambda: members_needed(ONE, 5, 2, 0.1, rule="best"), "rule must be one of"),
    (lambda: members_needed(ONE, 5, 2, 0.1, inputs="some"), "inputs must be one of"),
    (lambda: members_needed(ONE, 5, 2, 0.1, inputs=0), "inputs must be an integer, at least 1"),
    (lambda: ensemble_size(0, 0.1), "k must be an integer, at least 1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        call()
