"""Attention to pairs of keys beside the whole tensor of logits, ours and that of the package `simplicial-attention`.

    python -m experiments bench kronecker_attention    # needs the `peers` dependency group; about 5 min on two cores

The whole tensor takes 4 n^3 bytes a head, and its gradient several of them. Blockwise attention keeps one tile.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.attention import kron_attention, kron_attention_poly, poly_plan


def cases() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Each case is (name, ours, peer, sizes)."""
    for n, d in ((128, 16), (256, 16), (512, 16), (128, 64), (256, 64), (512, 64)):
        args, sizes = arrays(n, d), {"n": n, "d": d}
        blockwise, tensor = (functools.partial(kron_attention, impl=impl) for impl in ("blockwise", "reference"))
        theirs, theirs_gradient = simplicial(args)
        yield "forward, peer: simplicial-attention (PyTorch)", call(blockwise, args), theirs, sizes
        yield "gradient, peer: simplicial-attention (PyTorch)", call(gradient(blockwise), args), theirs_gradient, sizes
        if n <= 256:
            whole, whole_gradient = call(tensor, args), call(gradient(tensor), args)
            yield "forward, peer: whole tensor in JAX", call(blockwise, args), whole, sizes
            yield "gradient, peer: whole tensor in JAX", call(gradient(blockwise), args), whole_gradient, sizes

    args, sizes = arrays(16_384, 64), {"n": 16_384, "d": 64, "w1": 32, "w2": 512}
    windowed = functools.partial(kron_attention, windows=(32, 512))
    yield "windowed forward", call(windowed, args), None, sizes

    plan = poly_plan(0.5, 4, 1e-3)
    args, sizes = arrays(512, 4), {"n": 512, "d": 4, "degree": plan.degree, "columns": plan.rank}
    poly = lambda q, ks, vs: kron_attention_poly(q, ks, vs, plan, scale=1e-3)
    yield "polynomial method, peer: blockwise", call(poly, args), call(kron_attention, args), sizes


def arrays(n: int, d: int):
    """Queries, keys and values of one head."""
    q, k, l, v, w = map(jnp.asarray, np.random.default_rng(0).standard_normal((5, 1, n, 1, d), np.float32))
    return q, (k, l), (v, w)


def call(function: Callable, args) -> Callable[[], Any]:
    """The compiled function on its arguments."""
    compiled = jax.jit(function)
    return lambda: compiled(*args)


def gradient(function: Callable) -> Callable:
    """The gradient of the sum of squares by all arguments."""
    return jax.grad(lambda *args: jnp.sum(function(*args) ** 2), argnums=(0, 1, 2))


def simplicial(args) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The package's attention, and its gradient; heads before the sequence."""
    import torch
    from simplicial_attention.simplicial_attention import naive_two_simplicial_attend

    q, (k, l), (v, w) = jax.tree.map(lambda x: torch.from_numpy(np.asarray(x).transpose(0, 2, 1, 3).copy()), args)

    def forward():
        with torch.no_grad():
            return naive_two_simplicial_attend(q, (k, l), (v, w)).numpy()

    def backward():
        leaves = [x.clone().requires_grad_() for x in (q, k, l, v, w)]
        loss = (naive_two_simplicial_attend(leaves[0], tuple(leaves[1:3]), tuple(leaves[3:])) ** 2).sum()
        return [x.numpy() for x in torch.autograd.grad(loss, leaves)]

    return forward, backward
