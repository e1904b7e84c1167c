"""Oracles of the layer, its parts, the exact Match3 head and the closed-form gradient of the theory."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention.brute_force import arrays, assert_close

from jaxlib_methods.attention import (
    KronLayerConfig,
    kron_attention,
    kron_layer_apply,
    kron_layer_init,
    kron_virtual_attention,
    match3_features,
    match3_labels,
    match3_layer,
    rotate_chunks,
    tensor_attention_gradient,
    tensor_attention_loss,
    virtual_attention,
)

BASE = KronLayerConfig(heads=4, kv_heads=2, head_dim=6)
KEY = jax.random.key(0)


def sequence(n=5, dim=7):
    return np.random.default_rng(1).normal(size=(2, n, dim)).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        dict(normalise=True, causal=True, k_bias=1 / 6, v_bias=1.0),
        dict(order=4, value_dim=3),
        dict(null=True, logits="norm", values="outer", value_dim=2),
        dict(logits="determinant", rotary=True, windows=(2, 3)),
        dict(virtual=2, order=2),
    ],
)
def test_every_kind_of_layer_keeps_the_shape_and_learns(changes):
    config = dataclasses.replace(BASE, **changes)

    def loss(params, x):
        y = kron_layer_apply(params, x, config=config, block_q=2, block_k=2)
        return jnp.sum(jnp.sin(y)), y

    params = jax.jit(kron_layer_init, static_argnums=(1, 2))(KEY, 7, config)
    gradients, y = jax.jit(jax.grad(loss, has_aux=True))(params, sequence())
    assert y.shape == (2, 5, 7)
    assert all(np.isfinite(g).all() and np.any(g != 0) for g in map(np.asarray, jax.tree.leaves(gradients)))


def test_a_plain_layer_is_projections_around_the_attention(x64):
    @jax.jit
    def both(key, x):
        params = kron_layer_init(key, 7, BASE)
        project = lambda w: jnp.einsum("bni,ihd->bnhd", x, w)
        out = kron_attention(
            project(params.query), tuple(map(project, params.keys)), tuple(map(project, params.values))
        )
        return kron_layer_apply(params, x, config=BASE), jnp.einsum("bnhe,heo->bno", out, params.out)

    assert_close(*both(KEY, sequence().astype(float)))


def test_weights_have_variance_one_over_fan_in():
    config = KronLayerConfig(heads=8, kv_heads=8, head_dim=32)
    params = kron_layer_init(KEY, 256, config)
    for weight in (params.query, *params.keys, *params.values, params.out):
        assert abs(weight.var() * 256 - 1) < 6 * np.sqrt(2 / weight.size)


def test_a_causal_layer_does_not_look_ahead_and_a_plain_one_is_equivariant():
    x, order = sequence(), np.array([3, 1, 4, 0, 2])
    changed = np.concatenate([x[:, :3], 0 * x[:, 3:]], axis=1)
    causal = dataclasses.replace(BASE, causal=True, normalise=True)

    @jax.jit
    def outputs(x, changed):
        first, second = (kron_layer_init(KEY, 7, config) for config in (causal, BASE))
        run = lambda x: (kron_layer_apply(first, x, config=causal)[:, :3], kron_layer_apply(second, x, config=BASE))
        return run(x), run(changed), run(x[:, order])

    (seen, plain), (blinded, _), (_, permuted) = outputs(x, changed)
    assert_close(seen, blinded, 1e-6)
    np.testing.assert_allclose(permuted, plain[:, order], rtol=1e-4, atol=1e-5)


def test_rotary_determinant_logits_see_relative_positions_only(x64):
    args = arrays(n=5, lengths=(5, 5), d=7, batch=())

    @functools.partial(jax.jit, static_argnums=4)
    def at(shift, q, ks, vs, logits):
        turn = lambda x: rotate_chunks(x, jnp.arange(5.0) + shift)
        return kron_attention(turn(q), tuple(map(turn, ks)), vs, logits=logits)

    assert_close(at(0.0, *args, "determinant"), at(11.0, *args, "determinant"))
    assert jnp.abs(at(0.0, *args, "trilinear") - at(11.0, *args, "trilinear")).max() > 1e-3


def test_virtual_entities_are_masked_attention(x64):
    seen = np.ones((6, 6), bool)
    seen[:4, 4:] = False

    @jax.jit
    def both(q, ks, vs):
        masks = (jnp.arange(6) >= 4,) * 2
        weights = jax.nn.softmax(jnp.where(seen, jnp.einsum("ihc,jhc->hij", q, ks[0]) / 2, -jnp.inf), -1)
        masked = jnp.einsum("hij,jhe->ihe", weights, vs[0]), kron_attention(q, ks, vs, key_masks=masks)
        return masked, (virtual_attention(q, ks[0], vs[0], virtual=2), kron_virtual_attention(q, ks, vs, virtual=2))

    assert_close(*both(*arrays(n=6, lengths=(6, 6), heads=2, batch=())))


def test_match3_labels_are_those_of_all_pairs():
    x = np.array(list(itertools.product(range(13), repeat=4)))
    sums = x[:, :, None, None] + x[:, None, :, None] + x[:, None, None, :]
    truth = np.any(sums % 13 == 0, axis=(2, 3))
    np.testing.assert_array_equal(match3_labels(jnp.asarray(x), 13), truth)
    assert truth.sum() == 64_756  # of 114,244


def test_the_constructed_head_decides_match3(x64):
    """Sequences of 11 tokens and shorter ones, whose other tokens repeat the first and so add no match."""
    moduli, lengths = (2, 5, 13, 59), (3, 2, 4, 11)
    layers, configs = zip(*(match3_layer(modulus, 11) for modulus in moduli), strict=True)
    x = np.random.default_rng(0).integers(0, np.array(moduli)[:, None, None], (4, 30, 11))
    for row, length in zip(x, lengths, strict=True):
        row[:, length:] = row[:, :1]

    @jax.jit
    @jax.vmap
    def both(layer, x, modulus):
        out = kron_layer_apply(layer, match3_features(x, modulus), config=configs[0])
        return out[..., 0], match3_labels(x, modulus)

    out, labels = both(jax.tree.map(lambda *leaves: np.stack(leaves), *layers), x, np.array(moduli))
    assert np.abs(out - labels).max() <= 1.001e-3


def theory(seed=0, n=5, d=3, e=2):
    random = np.random.default_rng(seed)
    draw = lambda *shape: random.normal(size=shape)
    return tuple(draw(n, d) for _ in range(5)), draw(d, d * d), draw(d * d, e), draw(n, e)


def test_the_closed_gradient_is_that_of_autodiff(x64):
    args = theory()
    truth = jax.jit(jax.grad(tensor_attention_loss, argnums=(1, 2)))(*args)
    assert_close(tuple(jax.jit(functools.partial(tensor_attention_gradient, block=2))(*args)), truth, 1e-11)


def test_the_theory_parameters_are_products_of_projections(x64):
    """A1 X (A2 (x) A3)^T with X = W_Q (W_1 (/) W_2)^T has the logits of a head, and V = (A4 (x) A5) Y its values."""
    inputs, _, _, target = theory()
    weights = np.random.default_rng(1).normal(size=(5, 3, 3))
    query, first, second, left, right = weights
    columns = lambda a, b: np.einsum("ac,bc->abc", a, b).reshape(9, 3)
    loss = jax.jit(tensor_attention_loss)(inputs, query @ columns(first, second).T, columns(left, right)[:, :2], target)
    a = [(x @ w)[:, None] for x, w in zip(inputs, weights, strict=True)]
    out = jax.jit(functools.partial(kron_attention, scale=1 / 3))(a[0], tuple(a[1:3]), tuple(v[..., :2] for v in a[3:]))
    assert_close(loss, 0.5 * np.sum((out[:, 0] - target) ** 2))


X = jnp.ones((5, 4, 3))
INPUTS, PX, PY, TARGET = (jnp.ones((2, 3)),) * 5, jnp.ones((3, 9)), jnp.ones((9, 2)), jnp.ones((2, 2))
BAD = [
    (lambda: KronLayerConfig(heads=3, kv_heads=2, head_dim=4), "heads must be a multiple of kv_heads=2"),
    (lambda: KronLayerConfig(heads=2, kv_heads=2, head_dim=4, order=1), "order must be an integer, at least 2"),
    (lambda: KronLayerConfig(heads=2, kv_heads=2, head_dim=4, null=True, causal=True), "null must be False"),
    (lambda: KronLayerConfig(heads=2, kv_heads=2, head_dim=4, virtual=1, windows=3), "virtual must be 0"),
    (lambda: KronLayerConfig(heads=2, kv_heads=2, head_dim=4, rotary=True), "logits must be 'determinant' if rotary"),
    (lambda: kron_layer_init(KEY, 0, BASE), "dim must be"),
    (lambda: kron_layer_apply(kron_layer_init(KEY, 7, BASE), jnp.ones((5, 6)), config=BASE), "x must be"),
    (lambda: rotate_chunks(X, jnp.ones(4)), "positions must be"),
    (lambda: rotate_chunks(X, jnp.ones(5), base=0.0), "base must be positive"),
    (lambda: virtual_attention(X, X, X, virtual=5), "virtual must be an integer, between 1 and 4"),
    (lambda: kron_virtual_attention(X, (X, X), (X, X), virtual=0), "virtual must be"),
    (lambda: match3_labels(jnp.ones(3, int), 0), "modulus must be"),
    (lambda: match3_layer(1, 4), "modulus must be"),
    (lambda: match3_layer(5, 4, 2.0), "epsilon must be below 1"),
    (lambda: tensor_attention_loss(INPUTS[:4], PX, PY, TARGET), "inputs must be five matrices"),
    (lambda: tensor_attention_gradient(INPUTS, PX[:, :8], PY, TARGET), "x must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match="x must have an integer dtype"):
        match3_labels(jnp.ones(3), 5)
