"""Oracles of the polynomial method: exact attention, the certificate, closed forms, the sheet of least degrees."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention.brute_force import arrays, assert_close, value_and_gradients

from jaxlib_methods.attention import (
    elu_features,
    kron_attention,
    kron_attention_poly,
    kron_attention_semi_linear,
    kron_logit_bound,
    poly_error_bound,
    poly_plan,
    positive_random_features,
)
from jaxlib_methods.attention.kronecker.monomials import monomials, multinomials

DEGREES = {
    0.25: [(2, 2), (4, 3), (5, 4)],
    0.5: [(3, 2), (5, 4), (7, 6)],
    1: [(5, 4), (7, 6), (9, 7)],
    2: [(8, 6), (11, 8), (14, 10)],
    4: [(15, 10), (19, 13), (21, 15)],
    8: [(30, 19), (33, 22), (36, 24)],
}


@pytest.mark.parametrize("radius", DEGREES)
def test_least_degrees(radius):
    for epsilon, degrees in zip((1e-2, 1e-4, 1e-6), DEGREES[radius], strict=True):
        ours = tuple(poly_plan(radius, 1, epsilon, basis=basis).degree for basis in ("taylor", "chebyshev"))
        assert ours == degrees


def test_columns_are_counted_and_expand_the_power_of_an_inner_product(x64):
    random = np.random.default_rng(0)
    for dim, degree in ((1, 5), (3, 4), (5, 3)):
        x, y = random.normal(size=(2, dim))
        level, weight = multinomials(dim, degree)
        columns = np.prod(np.asarray(jax.jit(monomials, static_argnums=1)(np.stack([x, y]), degree)), axis=0) * weight
        assert len(columns) == math.comb(dim + degree, degree) == poly_plan(0.1, dim, 0.5, degree=degree).rank
        for power in range(degree + 1):
            np.testing.assert_allclose(columns[level == power].sum(), (x @ y) ** power, rtol=1e-12, atol=1e-12)


def test_monomials_have_right_gradients_at_zero(x64):
    gradient = jax.jit(jax.jacobian(lambda x: monomials(x, 2)))(np.zeros(2))
    np.testing.assert_array_equal(gradient, [[0, 0], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]])


def small(**shape):
    """Arrays with entries in [-1, 1]."""
    q, ks, vs = arrays(**shape)
    return np.sin(q), jax.tree.map(np.sin, ks), vs


OPTIONS = {
    "all keys": dict(),
    "order 4": dict(lengths=(6, 5, 4)),
    "causal": dict(causal=True, lengths=(7, 9)),
    "windows": dict(windows=(3, 5), lengths=(9, 7)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_polynomial_below_rounding_is_exact_with_gradients(x64, name):
    options = dict(OPTIONS[name])
    args = small(n=7, lengths=options.pop("lengths", (7, 9)), d=2, batch=())
    plan = poly_plan(0.04, 2, 1e-10, order=len(args[1]) + 1, degree=5)
    ours = functools.partial(kron_attention_poly, plan=plan, scale=0.02, block=4, chunk=3, **options)
    truth = functools.partial(kron_attention, scale=0.02, impl="reference", **options)
    assert_close(value_and_gradients(ours, *args), value_and_gradients(truth, *args), 1e-11)


def test_degree_60_is_exact(x64):
    args = small(n=6, lengths=(6, 6), d=1, batch=())
    plan = poly_plan(1.0, 1, 1e-9, basis="taylor", degree=60)
    ours = jax.jit(functools.partial(kron_attention_poly, plan=plan, scale=1.0))(*args)
    assert_close(ours, jax.jit(functools.partial(kron_attention, scale=1.0))(*args), 1e-10)


def test_degree_one_is_the_closed_form(x64):
    """P(z) = 1 + z: out = (sum_jl v v' + q.(sum_j k v)(sum_l k' v')) / (n^2 + q.(sum k)(sum k'))."""
    q, ks, vs = small(n=4, lengths=(5, 6), heads=1, kv=1, batch=(), d=3, e=2)
    plan = dataclasses.replace(poly_plan(0.1, 3, 0.5, degree=1), coefficients=(1.0, 1.0))
    (k, l), (v, w) = ([x[:, 0] for x in side] for side in (ks, vs))
    top = (v.sum(0) * w.sum(0))[None] + 0.1 * np.einsum("ic,ce,ce->ie", q[:, 0], k.T @ v, l.T @ w)
    bottom = 30 + 0.1 * q[:, 0] @ (k.sum(0) * l.sum(0))
    ours = jax.jit(functools.partial(kron_attention_poly, plan=plan, scale=0.1))(q, ks, vs)
    assert_close(ours[:, 0], top / bottom[:, None])


@pytest.mark.parametrize("basis", ["taylor", "chebyshev"])
def test_the_certificate_holds_for_every_draw_and_bounds_every_logit(x64, basis):
    q, ks, vs = arrays(n=6, lengths=(6, 6), d=3, batch=(8,))
    radius = float(jax.jit(functools.partial(kron_logit_bound, scale=0.05))(q, ks))
    share = [np.repeat(k, 2, axis=-2) for k in ks]
    assert np.abs(0.05 * np.einsum("bihc,bjhc,blhc->bhijl", q, *share)).max() <= radius
    plans = [poly_plan(radius, 3, epsilon, basis=basis) for epsilon in (0.3, 1e-2)]

    @jax.jit
    def measure(q, ks, vs):
        truth = kron_attention(q, ks, vs, scale=0.05)
        ours = [kron_attention_poly(q, ks, vs, plan, scale=0.05) for plan in plans]
        bounds = [jax.vmap(functools.partial(poly_error_bound, plan))(vs) for plan in plans]
        return [jnp.abs(out - truth).max((1, 2, 3)) for out in ours], bounds

    for error, bound in zip(*measure(q, ks, vs), strict=True):
        assert np.all(error <= bound)


def test_masked_keys_do_not_count(x64):
    args = small(n=6, lengths=(6, 6), d=2, batch=(2,))
    plan = poly_plan(0.04, 2, 1e-10, degree=5)

    @jax.jit
    def both(q, ks, vs):
        masks = jnp.arange(6)[None] < jnp.array([[4], [0]]), None
        options = [dict(scale=0.02, key_masks=masks, windows=windows) for windows in (None, (2, 3))]
        exact = [kron_attention(q, ks, vs, **o) for o in options]
        return [kron_attention_poly(q, ks, vs, plan, **o) for o in options], exact

    ours, exact = both(*args)
    assert_close(ours, exact, 1e-10)
    assert all(np.all(out[1] == 0) for out in ours)


def test_windows_keep_their_digits_over_long_sequences():
    q, ks, vs = jax.tree.map(np.float32, small(n=3000, lengths=(3000, 3000), heads=1, kv=1, batch=(), d=2, e=1))
    plan = poly_plan(0.5, 2, 1e-5)
    ours = jax.jit(functools.partial(kron_attention_poly, plan=plan, scale=0.2, windows=8))(q, ks, vs)
    recent = lambda side: tuple(x[-20:] for x in side)
    truth = jax.jit(functools.partial(kron_attention, scale=0.2, windows=8))(q[-10:], recent(ks), recent(vs))
    np.testing.assert_allclose(ours[-10:], truth, atol=2e-4)


def test_the_plan_says_which_path_is_cheaper():
    assert poly_plan(0.5, 4, 1e-3, n=4096).faster == "poly"
    assert poly_plan(0.5, 4, 1e-3, n=4).faster == "exact"
    plan = poly_plan(0.5, 4, 1e-3, order=4, n=100, value_dim=6)
    assert plan.flops_poly == 100 * plan.rank * 10 * 3
    assert plan.flops_exact == 4 * 100**4 * 4


@pytest.mark.parametrize("options", [dict(), dict(causal=True), dict(windows=(3, 4))])
def test_semi_linear_with_random_features_approaches_the_softmax(x64, options):
    args = small(n=5, lengths=(5, 6), d=3, e=2, batch=())
    features = [positive_random_features(jax.random.key(1), 3, count) for count in (64, 4096)]

    @jax.jit
    def errors(q, ks, vs):
        truth = kron_attention(q, ks, vs, scale=0.5, **options)
        run = functools.partial(kron_attention_semi_linear, q, ks, vs, scale=0.5, block_q=2, **options)
        return [jnp.abs(run(f) - truth).max() for f in features]

    few, many = errors(*args)
    assert many < 0.1
    assert many < few


def test_semi_linear_is_its_definition_with_gradients(x64):
    def truth(q, ks, vs):
        left = elu_features(0.5 * q[:, None] * ks[0][None])
        weights = jnp.einsum("ijhc,lhc->hijl", left, elu_features(ks[1]))
        weights = weights / weights.sum((2, 3), keepdims=True)
        return jnp.einsum("hijl,jhe,lhe->ihe", weights, *vs)

    args = arrays(n=4, lengths=(5, 6), heads=2, batch=(), kv=2)
    ours = functools.partial(kron_attention_semi_linear, features=elu_features, scale=0.5, block_q=3)
    assert_close(value_and_gradients(ours, *args), value_and_gradients(truth, *args))


X, Y = jnp.ones((2, 5, 4, 3)), jnp.ones((2, 5, 2, 3))
PLAN = poly_plan(0.5, 3, 1e-2)
BAD = [
    (lambda: poly_plan(0.0, 3, 0.1), "radius must be positive"),
    (lambda: poly_plan(17.0, 3, 0.1), "radius must be at most 16"),
    (lambda: poly_plan(16.0, 3, 1e-9), "epsilon must be reachable with degree 80"),
    (lambda: poly_plan(1.0, 3, 1.0), "epsilon must be below 1"),
    (lambda: poly_plan(1.0, 3, 0.1, order=1), "order must be an integer, at least 2"),
    (lambda: poly_plan(1.0, 3, 1e-4, degree=4), "degree must be at least 6 for relative error 0.0001"),
    (lambda: poly_plan(1.0, 3, 0.1, basis="legendre"), "basis must be one of"),
    (lambda: poly_plan(1.0, 64, 1e-2, memory_limit=2**28), "degree 4 in 64 dimensions gives 814385 columns"),
    (lambda: kron_attention_poly(X, (Y, Y, Y), (Y, Y, Y), PLAN), "plan must be made for"),
    (lambda: kron_attention_poly(X[..., :2], (Y[..., :2],) * 2, (Y, Y), PLAN), "plan must be made for"),
    (lambda: kron_attention_poly(X, (Y, Y), (Y, Y), PLAN, windows=0), "windows must be"),
    (lambda: kron_attention_poly(X, (Y, Y[:, :4]), (Y, Y[:, :4]), PLAN, causal=True), r"the length of ks\[1\] must be"),
    (lambda: kron_attention_poly(X, (Y, Y), (Y, Y), PLAN, chunk=0), "chunk must be"),
    (lambda: kron_attention_semi_linear(X, (Y,), (Y,), elu_features), "ks must be two key axes"),
    (lambda: positive_random_features(jax.random.key(0), 0, 3), "dim must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
