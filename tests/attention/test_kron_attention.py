"""Oracles of exact attention: the whole tensor of logits, autodiff through it, limits and symmetries."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention import brute_force
from attention.brute_force import arrays, assert_close, value_and_gradients
from scipy.stats import special_ortho_group

from jaxlib_methods.attention import kron_attention, kron_attention_with_lse
from jaxlib_methods.attention.kronecker import blockwise, strassen
from jaxlib_methods.attention.kronecker.heads import make_problem
from jaxlib_methods.attention.kronecker.problem import Problem

LAYOUTS = {
    "order 2": dict(lengths=(7,), batch=()),
    "order 3": dict(),
    "order 4": dict(lengths=(3, 5, 4), batch=(), n=4),
}


@pytest.mark.parametrize(("name", "impl"), [("order 3", "reference"), *((name, "blockwise") for name in LAYOUTS)])
def test_values_and_all_gradients_are_those_of_the_whole_tensor(x64, name, impl):
    args = arrays(**LAYOUTS[name])
    ours = functools.partial(kron_attention_with_lse, impl=impl, scale=0.7, block_q=4, block_k=2)
    assert_close(value_and_gradients(ours, *args), brute_force.attention(*args, scale=0.7), 1e-12)


def test_every_block_size_gives_the_same(x64):
    args = arrays()
    sizes = (1, 1), (4, (5, 3)), (5, (2, 16)), (32, None)
    all_sizes = lambda *args: [kron_attention_with_lse(*args, block_q=q, block_k=k) for q, k in sizes]
    truth, _ = brute_force.attention(*args, scale=0.5)
    for ours in jax.jit(all_sizes)(*args):
        assert_close(ours, truth)


@pytest.mark.parametrize("windows", [(3, 9), (2, 3), None])
def test_causal_windows_end_at_the_query_and_the_last_key_stands_at_the_last_query(x64, windows):
    args = arrays()
    ours = functools.partial(kron_attention_with_lse, causal=True, windows=windows, block_q=2, block_k=3)
    truth = brute_force.attention(*args, scale=0.5, windows=windows or (11, 11))
    assert_close(value_and_gradients(ours, *args), truth)


@pytest.mark.parametrize(
    ("logits", "impl"),
    [
        *((name, "blockwise") for name in ("trilinear", "separable", "strassen", "determinant", "norm")),
        *((name, "auto") for name in ("separable", "strassen")),
    ],
)
def test_all_logit_families_under_masks_and_windows_and_blind_queries_give_zero_without_nan(x64, logits, impl):
    args = arrays()
    random = np.random.default_rng(3)
    masks = [random.random((2, 1, m)) < 0.6 for m in (7, 11)]
    masks[0][0], masks[0][1, 0, 3] = False, True
    options = dict(scale=0.6, logits=logits, windows=(4, 6))
    ours = functools.partial(
        kron_attention_with_lse, impl=impl, block_q=3, block_k=2, key_masks=tuple(map(jnp.asarray, masks)), **options
    )
    result = value_and_gradients(ours, *args)
    assert_close(result, brute_force.attention(*args, masks=tuple(masks), **options), 1e-10)
    (out, lse), gradients = result
    assert np.all(out[0] == 0)
    assert np.all(np.isneginf(lse[0]))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("logits", ["trilinear", "separable"])
def test_outer_values_average_the_tensor_product(x64, logits):
    args = arrays(n=4, lengths=(5, 3), e=2, batch=())
    options = dict(logits=logits, values="outer", scale=0.6)
    ours = functools.partial(kron_attention_with_lse, block_q=3, block_k=2, **options)
    assert_close(value_and_gradients(ours, *args), brute_force.attention(*args, **options), 1e-10)


@hypothesis.settings(max_examples=3, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_random_shapes_windows_orders_and_groups(data):
    order = data.draw(st.integers(2, 4))
    n = data.draw(st.integers(1, 6))
    kv, group = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    windows = data.draw(st.none() | st.tuples(*[st.integers(1, 7)] * (order - 1)))
    lengths = [n + data.draw(st.integers(0, 2)) for _ in range(order - 1)]
    widths = dict(d=data.draw(st.integers(1, 4)), e=data.draw(st.integers(1, 4)))
    blocks = dict(block_q=data.draw(st.integers(1, 7)), block_k=data.draw(st.integers(1, 7)))
    with jax.enable_x64(True):
        args = arrays(n, lengths, kv * group, kv, batch=(), **widths)
        ours = functools.partial(kron_attention_with_lse, scale=0.8, windows=windows, **blocks)
        assert_close(value_and_gradients(ours, *args), brute_force.attention(*args, scale=0.8, windows=windows))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 2e-2)])
def test_lower_precisions_stay_near(dtype, tolerance):
    low = jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays())
    wide = jax.tree.map(lambda x: np.asarray(x).astype(np.float64), low)
    with jax.enable_x64(True):
        truth = jax.tree.map(np.asarray, brute_force.attention(*wide, scale=0.5, windows=(5, 11)))
    ours = value_and_gradients(functools.partial(kron_attention_with_lse, windows=(5, 11), block_q=5, block_k=4), *low)
    for mine, right in zip(jax.tree.leaves(ours), jax.tree.leaves(truth), strict=True):
        seen = np.isfinite(right)
        error = np.linalg.norm(np.asarray(mine, float)[seen] - right[seen]) / np.linalg.norm(right[seen])
        assert error < tolerance
    assert {x.dtype for x in jax.tree.leaves(ours)} == {jnp.dtype(dtype), jnp.dtype(jnp.float32)}
    assert ours[0][0].dtype == ours[1][0].dtype == dtype


def test_ordinary_attention_is_order_2_a_constant_second_axis_and_zero_keys_with_biases(x64):
    q, (k, zero), (v, none) = arrays(n=6, lengths=(6, 6), heads=2, e=4, batch=(2,))

    @jax.jit
    def ways(q, k, v, zero, none):
        order_2 = functools.partial(kron_attention, q, (k,), (v,), scale=0.5)
        plain = (
            order_2(),
            kron_attention(q, (k, zero + 1), (v, none + 1), scale=0.5),
            jax.nn.dot_product_attention(q, k, v),
        )
        biases = dict(k_bias=1 / 4, v_bias=1.0, scale=2.0)
        return plain, (order_2(causal=True), kron_attention(q, (k, zero), (v, none), causal=True, **biases))

    (order_2, constant, jax_attention), (causal, biased) = ways(q, k, v, 0 * zero, 0 * none)
    assert_close(constant, order_2, 1e-12)
    assert_close(order_2, jax_attention, 1e-5)  # whose softmax is in float32
    assert_close(biased, causal, 1e-12)


def test_limits(x64):
    q, ks, vs = arrays(n=6, lengths=(6, 6), heads=2, batch=())
    one = lambda side: tuple(x[:1] for x in side)
    causal, self_only, all_keys, single, flat = jax.jit(
        lambda q, ks, vs: (
            kron_attention(q, ks, vs, causal=True),
            kron_attention(q, ks, vs, windows=1),
            kron_attention(q, ks, vs, windows=6),
            kron_attention(q[:1], one(ks), one(vs)),
            kron_attention(0 * q, ks, vs),
        )
    )(q, ks, vs)
    rows = vs[0] * vs[1]
    assert_close(flat, np.broadcast_to(vs[0].mean(0) * vs[1].mean(0), flat.shape))
    assert_close(causal[0], rows[0])
    assert_close(self_only, rows)
    assert_close(all_keys, causal)
    assert_close(single, rows[:1])


def test_symmetries(x64):
    q, ks, vs = arrays(n=6, lengths=(6, 6), batch=())
    order = np.random.default_rng(0).permutation(6)
    permuted = lambda side: (side[0][order], side[1])
    run = jax.jit(kron_attention, static_argnames="windows")
    assert_close(run(q, ks[::-1], vs[::-1], windows=(5, 2)), run(q, ks, vs, windows=(2, 5)))
    whole = run(q, ks, vs)
    assert_close(run(q, permuted(ks), permuted(vs)), whole)
    assert_close(run(3 * q, (ks[0] / 3, ks[1]), vs), whole)
    assert_close(run(q, ks, tuple(map(np.ones_like, vs))), np.ones(whole.shape))
    products = vs[0][:, None] * vs[1][None]
    low, high = (np.repeat(f(products, axis=(0, 1)), 2, axis=0)[None] for f in (np.min, np.max))
    assert np.all((whole >= low) & (whole <= high))


def test_results_over_disjoint_keys_merge_by_their_log_sum_exps(x64):
    q, ks, vs = arrays()
    cut = lambda side, part: (side[0], side[1][..., part, :, :])

    @jax.jit
    def merged(q, ks, vs):
        parts = [kron_attention_with_lse(q, cut(ks, s), cut(vs, s)) for s in (slice(0, 3), slice(3, 11))]
        weights = jax.nn.softmax(jnp.stack([lse for _, lse in parts]), axis=0)[..., None]
        return (weights * jnp.stack([out for out, _ in parts])).sum(0)

    assert_close(merged(q, ks, vs), brute_force.attention(q, ks, vs, scale=0.5)[0][0])


def test_separable_logits_are_a_product_of_ordinary_attentions(x64):
    args = arrays(batch=())

    @jax.jit
    def ways(q, ks, vs):
        first, second = (kron_attention(q, (k,), (v,), impl="reference") for k, v in zip(ks, vs, strict=True))
        joint = functools.partial(kron_attention, q, ks, vs, logits="separable")
        return first * second, joint(), joint(impl="blockwise")

    truth, *ours = ways(*args)
    assert_close(ours, [truth, truth], 1e-12)


@functools.partial(jax.jit, static_argnums=3)
def logit(q, k, l, name):
    """The logit of single vectors, through the log-sum-exp over one pair."""
    heads = lambda x: x.reshape(1, 1, -1)
    vs = (jnp.ones((1, 1, 1)),) * 2
    options = dict(logits=name, scale=1.0, impl="blockwise")
    return kron_attention_with_lse(heads(q), (heads(k), heads(l)), vs, **options)[1][0, 0]


def test_determinant_logits_turn_with_the_chunks_and_change_sign(x64):
    a, b, c = np.random.default_rng(0).normal(size=(3, 6))
    rotation = np.kron(np.eye(2), special_ortho_group.rvs(3, random_state=0))
    turned = [rotation @ x for x in (a, b, c)]
    value = logit(a, b, c, "determinant")
    assert_close(logit(*turned, "determinant"), value)
    assert_close(logit(a, c, b, "determinant"), -value)
    assert_close(logit(a, b, b, "determinant"), 0.0)
    assert abs(logit(*turned, "trilinear") - logit(a, b, c, "trilinear")) > 0.1


def test_norm_logits_measure_dependence(x64):
    a, b, c = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0][:3] * np.array([[2.0], [3.0], [0.5]])
    assert_close(logit(a, b, c, "norm"), 0.0)
    norm = np.linalg.norm
    tilted = a + b
    assert_close(logit(a, tilted, c, "norm"), norm(c) * abs(a @ tilted))
    parallel = (2.5 * a, -0.7 * a)
    assert_close(logit(a, *parallel, "norm"), norm(a) * norm(parallel[0]) * norm(parallel[1]))
    flat = jax.jit(jax.grad(lambda q: logit(q, b, c, "norm")))(a)
    assert np.isfinite(flat).all()


def test_strassen_falls_back_where_its_sums_would_underflow(x64):
    q, ks, vs = arrays(n=4, lengths=(5, 5), batch=(), heads=1, kv=1)
    problem = strassen.Problem("strassen", "product", 0.5, None, 4, (5, 5), None)
    ways = [functools.partial(kron_attention_with_lse, logits="strassen", impl=i) for i in ("auto", "blockwise")]
    values_and_gradients = jax.jit(lambda *args: [value_and_gradients(way, *args) for way in ways])

    @jax.jit
    def fine(q, ks, vs):
        inner = [x[:, 0] for x in ks], [x[:, 0] for x in vs]
        return strassen.attend_strassen(problem, q, *inner, (jnp.ones(5, bool),) * 2, (-1, -1))[2]

    for sharpness, stays in ((1.0, True), (40.0, False)):
        args = q, tuple(sharpness * k for k in ks), vs
        assert bool(fine(*args)) == stays
        assert_close(*values_and_gradients(*args), 1e-8)


def test_strassen_never_forms_the_cube():
    q, ks, vs = (jnp.ones((400, 1, 4)),) + 2 * ((jnp.ones((400, 1, 4)),) * 2,)
    run = jax.jit(functools.partial(kron_attention, logits="strassen"))
    assert run.lower(q, ks, vs).compile().memory_analysis().temp_size_in_bytes < 400**3


def test_memory_is_linear_in_the_length():
    """Doubling the length less than doubles the memory; the whole tensor would take eight times as much."""
    sizes = []
    for n in (1024, 2048):
        x = jax.ShapeDtypeStruct((n, 1, 4), jnp.float32)
        loss = lambda q, ks, vs: kron_attention(q, ks, vs, block_q=16, block_k=16).sum()
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, (x, x), (x, x)).compile()
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 2.2 * sizes[0]
    assert sizes[1] < 2048 * 4 * 200


X, Y = jnp.ones((2, 5, 4, 3)), jnp.ones((2, 5, 2, 3))
BAD = [
    (lambda: kron_attention(X, (), ()), "ks must be at least one key axis, order 2"),
    (lambda: kron_attention(X, (Y, Y), (Y,)), "vs must be as many arrays as ks"),
    (lambda: kron_attention(X, (Y, Y[:, :4]), (Y, Y)), r"vs\[1\] must be an array of shape \(2, 4, 2, 3\)"),
    (lambda: kron_attention(X[0, 0], (Y,), (Y,)), "q must be an array of shape"),
    (lambda: kron_attention(X, (Y[..., :2],), (Y,)), r"ks\[0\] must be"),
    (
        lambda: kron_attention(X[:, :, :3], (Y,), (Y,)),
        "the number of query heads must be a multiple of the 2 key heads",
    ),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), windows=0), "windows must be an integer, at least 1"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), windows=(3, -1)), "windows must be an integer, at least 1"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), windows=(3,)), "windows must be one number for each of the 2 key axes"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), logits="cubic"), "logits must be one of"),
    (lambda: kron_attention(X, (Y,) * 3, (Y,) * 3, logits="norm"), "ks must be of order 3 for norm logits"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), values="sum"), "values must be one of"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), impl="fast"), "impl must be one of"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), impl="strassen"), "logits must be 'strassen'"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), block_q=0), "block_q must be"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), block_k=(1, 0)), "block_k must be"),
    (lambda: kron_attention(X, (Y, Y), (Y, Y), key_masks=(None,)), "key_masks must be one for each"),
    (lambda: kron_attention(X, (Y,), (Y,), key_masks=(jnp.ones((2, 4), bool),)), r"key_masks\[0\] must be of shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match=r"ks\[0\] must have a floating dtype"):
        kron_attention(X, (jnp.ones((2, 5, 2, 3), int),), (Y,))


@pytest.mark.parametrize("lengths", [(512, 512), (512, 40), (40, 512), (30, 512, 512)])
def test_default_tiles_are_long_on_the_axis_that_is_multiplied_by_a_matrix(lengths):
    for batch, heads, logits_a_head in (((), 1, 2**20), ((2,), 8, 2**17)):
        q, ks = jnp.zeros((*batch, 512, heads, 4)), [jnp.zeros((*batch, m, heads, 4)) for m in lengths]
        problem = make_problem(q, ks, None, None, "trilinear", "product", 32, None, None)
        assert max(problem.block_k) == 512
        assert sorted(range(len(lengths)), key=lengths.__getitem__)[-1] == problem.block_k.index(512)
        assert 32 * np.prod(problem.block_k) <= logits_a_head


@pytest.mark.parametrize(("order", "rows"), [(2, 6), (3, 6), (3, 2), (4, 6)])
def test_the_gradients_of_products_from_their_moments_are_those_of_the_sums(order, rows, x64):
    problem = Problem("trilinear", "product", 1.0, None, rows, (4,) * (order - 1), None)
    keys = jax.random.split(jax.random.key(0), order + 1)
    lengths = range(3, order + 2)
    weights, d_out = jax.random.normal(keys[0], (rows, *lengths)), jax.random.normal(keys[1], (rows, 3))
    *first, last = (jax.random.normal(key, (m, 3)) for key, m in zip(keys[2:], lengths, strict=True))
    vs = (*first, last.T)
    truth = jax.vjp(functools.partial(blockwise._average, problem), weights, vs)[1](d_out)
    ours = blockwise._average_backward(problem, weights, vs, d_out)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), ours, truth)
