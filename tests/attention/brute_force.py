"""Kronecker attention written out as its definition, and random arrays to try it on."""

import functools
import string

import jax
import jax.numpy as jnp
import numpy as np


def arrays(n=9, lengths=(7, 11), heads=4, kv=2, d=4, e=3, batch=(2, 1), seed=0):
    """Queries, keys and values, standard normal, in double precision; by default the same shapes for all tests."""
    random = np.random.default_rng(seed)
    draw = lambda *shape: random.normal(size=(*batch, *shape))
    ks, vs = (tuple(draw(m, kv, width) for m in lengths) for width in (d, e))
    return draw(n, heads, d), ks, vs


def _vectors(q, ks):
    """Every array with its own axis: q (n, 1, ..., d), k_t (1, ..., m_t, ..., d)."""
    everything = [q, *ks]
    shape = lambda t: [len(x) if s == t else 1 for s, x in enumerate(everything)]
    return [x.reshape(*shape(t), -1) for t, x in enumerate(everything)]


def _trilinear(q, ks):
    product = 1
    for x in _vectors(q, ks):
        product = product * x
    return product.sum(-1)


def _separable(q, ks):
    q, *ks = _vectors(q, ks)
    return sum((q * k).sum(-1) for k in ks)


def _strassen(q, ks):
    a, b, c = _vectors(q, ks)
    return (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1)


def _determinant(q, ks):
    whole = q.shape[-1] // 3 * 3
    vectors = jnp.broadcast_arrays(*_vectors(q, ks))
    total = (vectors[0] * vectors[1] * vectors[2])[..., whole:].sum(-1)
    for start in range(0, whole, 3):
        total = total + jnp.linalg.det(jnp.stack([x[..., start : start + 3] for x in vectors], -2))
    return total


def _norm(q, ks):
    a, b, c = _vectors(q, ks)
    dot = lambda x, y: (x * y).sum(-1, keepdims=True)
    return jnp.sqrt(jnp.sum((dot(a, b) * c - dot(a, c) * b + dot(b, c) * a) ** 2, -1))


LOGITS = {
    "trilinear": _trilinear,
    "separable": _separable,
    "strassen": _strassen,
    "determinant": _determinant,
    "norm": _norm,
}


def attention(q, ks, vs, *, scale, logits="trilinear", values="product", windows=None, masks=None):
    """Averages and log-sum-exps of all heads and batch entries through the whole tensor of logits, and gradients.

    What tests vary most, windows and masks, are arguments of one compiled program.
    """
    limits = [(-(10**6), 10**6)] * len(ks) if windows is None else [(0, window) for window in windows]
    masks = tuple(np.ones(k.shape[:-2], bool) for k in ks) if masks is None else masks
    return _value_and_gradients(q, ks, vs, scale, limits, masks, logits=logits, values=values)


@functools.partial(jax.jit, static_argnames=("logits", "values"))
def _value_and_gradients(q, ks, vs, scale, limits, masks, *, logits, values):
    share = q.shape[-2] // ks[0].shape[-2]

    def head(q, ks, vs, masks):
        table = scale * LOGITS[logits](q, ks)
        seen = jnp.ones(table.shape, bool)
        for t, (k, (low, high)) in enumerate(zip(ks, limits, strict=True)):
            distance = jnp.arange(len(q))[:, None] - jnp.arange(len(k))[None] + len(k) - len(q)
            axis = masks[t][None] & (distance >= low) & (distance < high)
            seen = seen & axis.reshape(len(q), *[len(k) if s == t else 1 for s in range(len(ks))])
        weights = jnp.where(seen, jnp.exp(jnp.where(seen, table, 0)), 0)
        letters = string.ascii_lowercase[1 : 1 + len(ks)]
        out = {"product": "z", "outer": string.ascii_uppercase[: len(ks)]}[values]
        ends = out if values == "outer" else "z" * len(ks)
        sides = ",".join(letter + end for letter, end in zip(letters, ends, strict=True))
        averages = jnp.einsum(f"a{letters},{sides}->a{out}", weights, *vs).reshape(len(q), -1)
        total = weights.reshape(len(q), -1).sum(1)
        some = total > 0
        safe = jnp.where(some, total, 1)
        return averages / safe[:, None], jnp.where(some, jnp.log(safe), -jnp.inf)

    run = jax.vmap(head, in_axes=(-2, -2, -2, None), out_axes=(-2, -1))
    for _ in range(q.ndim - 3):
        run = jax.vmap(run)
    spread = lambda side: tuple(jnp.repeat(x, share, axis=-2) for x in side)
    return value_and_gradients(lambda q, ks, vs: run(q, spread(ks), spread(vs), masks), q, ks, vs)


def wave(tree):
    """A scalar with different slopes in every entry; -inf counts nothing."""
    finite = lambda x: jnp.where(jnp.isfinite(x), x, 0).astype(jnp.promote_types(x.dtype, jnp.float32))
    phases = lambda x: jnp.arange(x.size).reshape(x.shape) % 7  # small, so that low precisions keep x beside them
    return sum(jnp.sum(jnp.sin(finite(x) + phases(x))) for x in jax.tree.leaves(tree))


def value_and_gradients(f, *args):
    """f(*args), and the gradient of `wave` of it by all arguments."""
    both = jax.value_and_grad(lambda args: (wave(out := f(*args)), out), has_aux=True)
    (_, out), gradients = jax.jit(both)(args)
    return out, gradients


def assert_close(actual, expected, tolerance=1e-11):
    for ours, truth in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(truth), rtol=tolerance, atol=tolerance)
