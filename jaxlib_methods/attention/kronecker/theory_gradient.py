"""Attention with its logits as one matrix, as the theory has it, and the gradient of its training loss in closed form.

    S = softmax over rows of A1 X (A2 (x) A3)^T / d,   V = (A4 (x) A5) Y,   loss = |S V - E|^2 / 2,
    G = (S V - E) V^T,   p = S o (G - rowsum(S o G)),   d loss / dX = A1^T p (A2 (x) A3) / d,
    d loss / dY = sum_i (A4^T S_i A5) (x) (S V - E)_i.

Liang, Shi, Song and Zhou, "Tensor Attention Training", 2024, section 4 (X); Y derived.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require_array, require_size

__all__ = ["TensorAttentionGradient", "tensor_attention_gradient", "tensor_attention_loss"]

Inputs = tuple[Float[Array, "n d"], ...]


class TensorAttentionGradient(NamedTuple):
    """Gradients by the parameters of the logits and of the values."""

    x: Float[Array, "d d2"]
    y: Float[Array, "d2 e"]


def tensor_attention_loss(
    inputs: Inputs, x: Float[Array, "d d2"], y: Float[Array, "d2 e"], target: Float[Array, "n e"], *, block: int = 16
) -> Float[Array, ""]:
    """Half the squared distance between the attention and its target.

    Args:
      inputs: A1, ..., A5, each (n, d).
      x: parameters of the logits; W_Q (W_1 (/) W_2)^T, with (/) the column-wise Kronecker product, for a head with
        projections W_Q, W_1, W_2.
      y: parameters of the values.
      target: E.
      block: queries worked on at once.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not fit or `block` is below 1.

    Cost: n^3 d, memory block n^2.

    >>> a = (jnp.ones((2, 1)),) * 5
    >>> float(tensor_attention_loss(a, jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros((2, 1))))
    1.0
    """
    _check(inputs, x, y, target, block)
    rows = jax.lax.map(jax.checkpoint(lambda row: _row(inputs, x, y, row)[2]), (inputs[0], target), batch_size=block)
    return 0.5 * jnp.sum(rows**2)


def tensor_attention_gradient(
    inputs: Inputs, x: Float[Array, "d d2"], y: Float[Array, "d2 e"], target: Float[Array, "n e"], *, block: int = 16
) -> TensorAttentionGradient:
    """The gradient of the loss in closed form. Args, errors and memory as `tensor_attention_loss`.

    >>> a = (jnp.ones((2, 1)),) * 5
    >>> float(tensor_attention_gradient(a, jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros((2, 1))).y[0, 0])
    2.0
    """
    _check(inputs, x, y, target, block)
    dim = x.shape[0]
    values = y.reshape(dim, dim, -1)

    def row(pair):
        weights, moment, residual = _row(inputs, x, y, pair)
        outer = jnp.einsum("abe,e->ab", values, residual, precision="highest")
        pull = jnp.einsum("ja,ab,lb->jl", inputs[3], outer, inputs[4], precision="highest")
        p = weights * (pull - jnp.sum(weights * pull))
        towards = jnp.einsum("jl,ja,lb->ab", p, inputs[1], inputs[2], precision="highest") / dim
        return towards, moment, residual

    towards, moment, residual = jax.lax.map(row, (inputs[0], target), batch_size=block)
    dx = jnp.einsum("ic,iab->cab", inputs[0], towards, precision="highest").reshape(x.shape)
    dy = jnp.einsum("iab,ie->abe", moment, residual, precision="highest").reshape(y.shape)
    return TensorAttentionGradient(dx, dy)


def _row(inputs, x, y, pair):
    """One query's weights S_i (n, n), second moment A4^T S_i A5 (d, d), and residual S_i V - E_i (e,)."""
    a, target = pair
    dim = x.shape[0]
    form = jnp.einsum("c,cab->ab", a, x.reshape(dim, dim, dim), precision="highest")
    logits = jnp.einsum("ja,ab,lb->jl", inputs[1], form, inputs[2], precision="highest") / dim
    weights = jax.nn.softmax(logits.ravel()).reshape(logits.shape)
    moment = jnp.einsum("jl,ja,lb->ab", weights, inputs[3], inputs[4], precision="highest")
    return weights, moment, moment.ravel() @ y - target


def _check(inputs, x, y, target, block):
    if len(inputs) != 5:
        raise ValueError(f"inputs must be five matrices A1, ..., A5, got {len(inputs)}")
    require_array("inputs[0]", inputs[0], (None, None))
    n, dim = inputs[0].shape
    for i, a in enumerate(inputs):
        require_array(f"inputs[{i}]", a, (n, dim))
    require_array("x", x, (dim, dim**2))
    require_array("y", y, (dim**2, None))
    require_array("target", target, (n, y.shape[1]))
    require_size("block", block)
