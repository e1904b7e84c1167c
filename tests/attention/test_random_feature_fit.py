"""Oracles of finite heads: a loop in numpy, equal forms of one fit, optimal projections, one device against eight."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.attention import (
    RandomHeads,
    attention_tokens,
    project_heads,
    rfa_apply,
    rfa_features,
    rfa_fit,
    rfa_fit_constrained,
    rfa_gram,
    rfa_init,
    rfmlp_features,
    rfmlp_init,
    sample_sphere_tokens,
)
from jaxlib_methods.numerics import kernel_ridge_fit, ridge_fit

D, N, M, SAMPLES = 3, 4, 10, 13
READOUTS = ("relu", "softmax")
features = jax.jit(rfa_features, static_argnames="readout")
fit = jax.jit(rfa_fit, static_argnames=("method", "readout", "block", "mesh", "axis", "head_axis", "float64"))
apply = jax.jit(rfa_apply, static_argnames=("readout", "block", "mesh", "axis", "head_axis"))
matrix = jax.jit(rfa_gram, static_argnames=("readout", "block"))
constrained = jax.jit(rfa_fit_constrained, static_argnames=("steps", "readout"))


@pytest.fixture
def problem(x64):
    """Heads, tokens with masked keys, two targets."""
    rows = jax.random.normal(jax.random.key(0), (SAMPLES, N + 1, D))
    mask = jnp.ones((SAMPLES, N), bool).at[1, 2:].set(False).at[2, 0].set(False)
    x = attention_tokens(rows[:, 0], rows[:, 1:], mask)
    y = jnp.stack([rows[:, 1:, 0].mean(1), jnp.sin(rows[:, 0, 1])], 1)
    return rfa_init(jax.random.key(1), D, M, alpha=0.5, dtype=jnp.float64), x, y


def loop(weights, x, readout):
    """The features of one set, head by head and key by key."""
    query, keys = np.asarray(x[0]), np.asarray(x[1:][x[1:, -1] != 0])
    rows = []
    for w in np.asarray(weights):
        logits = np.array([query @ w @ key for key in keys])
        scores = np.maximum(logits, 0) / len(keys) if readout == "relu" else np.exp(logits) / np.exp(logits).sum()
        rows.append(sum(score * key for score, key in zip(scores, keys, strict=True)))
    return np.array(rows)


@pytest.mark.parametrize("readout", READOUTS)
def test_features_are_those_of_a_loop(readout, problem):
    heads, x, _ = problem
    ours = features(heads, x, readout=readout)
    np.testing.assert_allclose(ours, [loop(heads.key, row, readout) for row in x], rtol=1e-11, atol=1e-13)
    single = features(*jax.tree.map(lambda a: a.astype(jnp.float32), (heads, x)), readout=readout)
    np.testing.assert_allclose(single, ours, rtol=1e-4, atol=1e-5)
    half = features(*jax.tree.map(lambda a: a.astype(jnp.bfloat16), (heads, x)), readout=readout)
    np.testing.assert_allclose(half.astype(jnp.float32), ours, atol=0.05 * jnp.abs(ours).max())


def test_factors_multiply_to_matrices_of_the_same_variance_and_of_the_gaussian_law_in_high_rank(problem):
    _, x, _ = problem
    heads = rfa_init(jax.random.key(2), D, 50, alpha=2.0, rank=2, dtype=jnp.float64)
    whole = jnp.einsum("mrp,mrq->mpq", heads.query, heads.key) + heads.mean[None]
    for other in (RandomHeads(whole), RandomHeads(whole - heads.mean[None], mean=heads.mean)):
        np.testing.assert_allclose(features(other, x), features(heads, x), rtol=1e-11)
    kurtosis = []
    for rank in (1, 64):
        many = rfa_init(jax.random.key(3), D, 5000, rank=rank, dtype=jnp.float64)
        entries = np.einsum("mrp,mrq->mpq", many.query, many.key)
        assert abs(entries.var() - 0.25) < 0.03
        kurtosis.append((entries**4).mean() / entries.var() ** 2)
    assert kurtosis[0] > 7  # 9 for a product of two Gaussians
    assert abs(kurtosis[1] - 3) < 0.2


@pytest.mark.parametrize("readout", READOUTS)
def test_order_copies_and_masked_keys_do_not_matter(readout, problem):
    heads, x, _ = problem
    truth = features(heads, x, readout=readout)
    shuffled = x[:, jnp.array([0, 3, 1, 4, 2])]
    doubled = jnp.concatenate([x, x[:, 1:]], 1)
    np.testing.assert_allclose(features(heads, shuffled, readout=readout), truth, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(features(heads, doubled, readout=readout), truth, rtol=1e-10, atol=1e-13)
    empty = x.at[0, 1:].set(0)
    value, slope = jax.value_and_grad(lambda x: rfa_features(heads, x, readout=readout)[0].sum())(empty)
    assert value == 0
    assert jnp.isfinite(slope).all()


CASES = [("relu", [("dual", 3), ("primal", 5)]), ("softmax", [("auto", 64)])]


@pytest.mark.parametrize(("readout", "ways"), CASES)
def test_dual_primal_and_kernel_ridge_are_one_fit(readout, ways, problem):
    heads, x, y = problem
    f = features(heads, x, readout=readout)
    gram = matrix(heads, x, readout=readout, block=3)
    np.testing.assert_allclose(gram, jnp.einsum("nmp,kmp->nk", f, f) / M, rtol=1e-11, atol=1e-14)
    ridge = 1e-3 * jnp.trace(gram) / SAMPLES
    truth = gram @ kernel_ridge_fit(gram, y, ridge)
    for method, block in ways:
        v = fit(heads, x, y, 1e-3, method=method, readout=readout, block=block)
        np.testing.assert_allclose(apply(heads, v, x, readout=readout, block=4), truth, rtol=1e-6, atol=1e-9)
    flat = ridge_fit(f.reshape(SAMPLES, -1), y, M * ridge).reshape(v.shape)
    np.testing.assert_allclose(v, flat, rtol=1e-6, atol=1e-9)


def test_scales_of_weights_and_single_targets_change_nothing(problem):
    heads, x, y = problem
    predictions = lambda heads, y: rfa_apply(heads, rfa_fit(heads, x, y, 1e-2), x)
    both = jax.jit(lambda c, y: predictions(heads._replace(key=c * heads.key), y))
    np.testing.assert_allclose(both(7.0, y), both(1.0, y), rtol=1e-9)
    np.testing.assert_allclose(jax.jit(predictions)(heads, y[:, 1]), both(1.0, y)[:, 1], rtol=1e-9)


def test_the_projection_is_feasible_and_optimal(x64):
    """<v - P, z - P> <= 0 for every feasible z, by the variational inequality, in all cases of active bounds."""
    v = jax.random.normal(jax.random.key(6), (8, 2, 3)) * jnp.linspace(0.0, 2.0, 8)[:, None, None]
    norms = lambda a: jnp.sqrt((a**2).sum((1, 2)))
    project = jax.jit(project_heads)
    points = [project(a, 3.0, 10.0) for a in 3 * jax.random.normal(jax.random.key(7), (20, *v.shape))]
    less = 0.9 * float(norms(project(v, 100.0, 10.0)).sum())
    for sum_bound, square_bound, active in [(3.0, 100.0, (1, 0)), (100.0, 10.0, (0, 1)), (less, 10.0, (1, 1))]:
        p = project(v, sum_bound, square_bound)
        total, square = norms(p).sum(), 8 * (norms(p) ** 2).sum()
        assert total <= sum_bound * (1 + 1e-12)
        assert square <= square_bound * (1 + 1e-12)
        tight = abs(total - sum_bound) < 1e-9, abs(square - square_bound) < 1e-9
        assert tight == tuple(map(bool, active))
        for z in [project(z, sum_bound, square_bound) for z in points]:
            assert jnp.vdot(v - p, z - p) <= 1e-12
    np.testing.assert_array_equal(project(v, 100.0, 1e4), v)


def test_the_constrained_fit_is_ridge_inside_and_optimal_on_the_border(problem):
    heads, x, y = problem
    free = fit(heads, x, y, 1e-2)
    np.testing.assert_allclose(constrained(heads, x, y, 1e6, 1e9, 1e-2), free, rtol=1e-8, atol=1e-10)
    norms = jnp.linalg.norm(free.reshape(M, -1), axis=1)
    bounds = 0.5 * norms.sum(), 0.3 * M * (norms**2).sum()
    v = constrained(heads, x, y, *bounds)
    norms = jnp.linalg.norm(v.reshape(M, -1), axis=1)
    assert norms.sum() <= bounds[0] * (1 + 1e-12)
    assert M * (norms**2).sum() <= bounds[1] * (1 + 1e-12)
    loss = lambda v: jnp.sum((y - rfa_apply(heads, v, x)) ** 2)
    step = project_heads(v - 1e-3 * jax.grad(loss)(v), *bounds)
    np.testing.assert_allclose(step, v, atol=1e-9 * jnp.abs(v).max())


def test_the_baseline_is_a_layer_of_rectifiers_on_concatenated_tokens(problem):
    _, x, _ = problem
    weights = rfmlp_init(jax.random.key(8), N, D, 7, dtype=jnp.float64)
    flat = np.concatenate([np.asarray(x)[..., :-1].reshape(SAMPLES, -1), np.ones((SAMPLES, 1))], 1)
    np.testing.assert_allclose(rfmlp_features(weights, x), np.maximum(flat @ weights.T, 0), rtol=1e-11)
    many = rfmlp_init(jax.random.key(9), N, D, 20_000)
    assert abs(many.var() * (N + 2) - 1) < 0.02


@pytest.mark.parametrize("readout", READOUTS)
def test_samples_and_heads_over_eight_devices_give_the_same_values_and_gradients(readout, mesh2x4, problem):
    """13 samples over 2 and 10 heads over 4 devices; only tokens are gathered, sums cross in all-reduces."""
    heads, x, y = problem
    options = {"readout": readout, "block": 2}

    def everything(heads, x, y, **where):
        loss = lambda key, x: jnp.sum(rfa_gram(heads._replace(key=key), x, **options, **where)[0] ** 2)
        slopes = jax.value_and_grad(loss, (0, 1))(heads.key, x)
        if readout == "softmax":
            return slopes
        ways = [rfa_fit(heads, x, y, 1e-3, method=method, **options, **where) for method in ("dual", "primal")]
        return slopes, ways, rfa_apply(heads, ways[0], x, **options, **where)

    whole, split = jax.jit(everything), jax.jit(functools.partial(everything, mesh=mesh2x4, head_axis="model"))
    for ours, truth in zip(*map(jax.tree.leaves, (split(heads, x, y), whole(heads, x, y))), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-7, atol=1e-10)


def test_only_tokens_are_gathered(mesh2x4, problem):
    heads, x, _ = problem
    x, place = jnp.concatenate([x, x[:3]]), lambda *axes: NamedSharding(mesh2x4, P(*axes))
    where = {"block": 2, "mesh": mesh2x4, "head_axis": "model"}
    v = jax.ShapeDtypeStruct((M + 2, D + 1), jnp.float64, sharding=place("model"))
    tokens = jax.ShapeDtypeStruct(x.shape, jnp.float64, sharding=place("data"))
    weights = jax.ShapeDtypeStruct((M + 2, D + 1, D + 1), jnp.float64, sharding=place("model"))
    programs = {
        "gram": jax.jit(lambda w, v, x: rfa_gram(heads._replace(key=w), x, **where)),
        "apply": jax.jit(lambda w, v, x: rfa_apply(heads._replace(key=w), v, x, **where)),
    }
    for name, program in programs.items():
        text = program.lower(weights, v, tokens).compile().as_text()
        gathered = re.findall(r"= (\S+?)\{\S* all-gather", text)
        assert "all-reduce" in text
        assert set(gathered) <= ({f"f64[{len(x)},{N + 1},{D + 1}]"} if name == "gram" else set())


HEADS = rfa_init(jax.random.key(0), 2, 3)
X, Y = jnp.ones((4, 3, 3)), jnp.ones(4)
BAD = [
    (lambda: attention_tokens(jnp.ones(2), jnp.ones((3, 4))), "keys must be"),
    (lambda: attention_tokens(jnp.ones(2), jnp.ones(2)), "keys must be"),
    (lambda: attention_tokens(jnp.ones(2), jnp.ones((3, 2)), jnp.ones(2, bool)), "mask must be"),
    (lambda: sample_sphere_tokens(jax.random.key(0), 0, 2, 2), "samples must be"),
    (lambda: rfa_init(jax.random.key(0), 0, 3), "dim must be"),
    (lambda: rfa_init(jax.random.key(0), 2, 0), "heads must be"),
    (lambda: rfa_init(jax.random.key(0), 2, 3, tau=-1.0), "tau must be positive"),
    (lambda: rfa_init(jax.random.key(0), 2, 3, rank=0), "rank must be"),
    (lambda: rfa_init(jax.random.key(0), 2, 3, alpha=1.0, mean=jnp.eye(2)), "mean must be"),
    (lambda: rfa_features(HEADS, jnp.ones((3, 4))), "x must be an array of shape"),
    (lambda: rfa_features(HEADS, X, readout="linear"), "readout must be one of"),
    (lambda: rfa_gram(HEADS, X, block=0), "block must be"),
    (lambda: rfa_gram(HEADS, X, jnp.ones((4, 3, 2))), "y must be"),
    (lambda: rfa_apply(HEADS, jnp.ones((3, 2)), X), "values must be"),
    (lambda: rfa_apply(HEADS, jnp.ones((3, 3)), jnp.ones((3, 3))), "x must be tokens"),
    (lambda: rfa_fit(HEADS, X, jnp.ones(3), 0.1), "y must be"),
    (lambda: rfa_fit(HEADS, X, Y, -0.1), "reg must be nonnegative"),
    (lambda: rfa_fit(HEADS, X, Y * jnp.nan, 0.1), "y must be finite"),
    (lambda: rfa_fit(HEADS, X, Y, 0.1, method="svd"), "method must be one of"),
    (lambda: rfa_fit_constrained(HEADS, X, Y, 0.0, 1.0), "sum_bound must be positive"),
    (lambda: rfa_fit_constrained(HEADS, X, Y, 1.0, 0.0), "square_bound must be positive"),
    (lambda: rfa_fit_constrained(HEADS, X, Y, 1.0, 1.0, steps=0), "steps must be"),
    (lambda: project_heads(jnp.ones((3, 2)), jnp.nan, 1.0), "sum_bound must be positive"),
]


def test_bad_mesh_axes_are_named(mesh8):
    with pytest.raises(ValueError, match="head_axis must be one of 'data'"):
        rfa_fit(HEADS, X, Y, 0.1, mesh=mesh8, head_axis="model")
    with pytest.raises(ValueError, match="axis must be one of 'data'"):
        rfa_apply(HEADS, jnp.ones((3, 3)), X, mesh=mesh8, axis="rows")


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match="mask must be boolean"):
        attention_tokens(jnp.ones(2), jnp.ones((3, 2)), jnp.ones(3))
    with pytest.raises(TypeError, match="x must have a floating dtype"):
        rfa_features(HEADS, jnp.ones((4, 3, 3), int))
