"""Match3: does a token have two others with which it sums to zero? One order-3 head of width 5 decides it exactly.

    y_i = 1 if x_i + x_j + x_l = 0 mod M for some j, l.

With theta = 2 pi x / M the query C (c, -c, -s, -s, 1) and the keys (c, s, c, s, 0), (c, s, s, c, 0) give the logits
C cos(theta_i + theta_j + theta_l), which reach C at a match and C cos(2 pi / M) at most otherwise. A null token of
logit C (1 - delta), delta = (1 - cos(2 pi / M)) / 2, and value 0 wins just when there is no match: with values 1
elsewhere and C = log(N^2 / epsilon) / delta the output is within epsilon of y. One order-2 layer needs width
of order N instead.
Sanford, Hsu and Telgarsky 2023, "Representational Strengths and Limitations of Transformers" (task); weights derived.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from jaxlib_methods.attention.kronecker.layer import KronLayer, KronLayerConfig
from jaxlib_methods.numerics.checks import require, require_positive, require_size

__all__ = ["match3_features", "match3_labels", "match3_layer"]


def match3_labels(x: Int[Array, "*batch n"], modulus: int | Int[ArrayLike, ""]) -> Int[Array, "*batch n"]:
    """Labels y of sequences of residues; j and l range over all tokens, i included.

    Args:
      x: integers.
      modulus: M, at least 1.

    Raises:
      TypeError: if `x` does not hold integers.
      ValueError: if a known `modulus` is below 1 or `x` has no axis.

    Cost: n^2 log n a sequence.

    >>> match3_labels(jnp.array([1, 2, 5]), 8).tolist()
    [1, 1, 1]
    >>> match3_labels(jnp.array([1, 1, 3]), 8).tolist()
    [0, 0, 0]
    """
    require_positive("modulus", modulus)
    if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
        raise TypeError(f"x must have an integer dtype, got {jnp.result_type(x)}")
    require(jnp.ndim(x) >= 1, "x", f"shape {jnp.shape(x)}", "an array of shape (*batch, n)")

    def sequence(x):
        ordered = jnp.sort(x)
        needed = (-(x[:, None] + x[None])) % modulus
        place = jnp.minimum(jnp.searchsorted(ordered, needed), x.shape[0] - 1)
        return jnp.any(ordered[place] == needed, axis=1).astype(x.dtype)

    for _ in range(jnp.ndim(x) - 1):
        sequence = jax.vmap(sequence)
    return sequence(jnp.asarray(x) % modulus)


def match3_features(x: Int[Array, "*batch n"], modulus: int | Int[ArrayLike, ""]) -> Float[Array, "*batch n 3"]:
    """cos(2 pi x / M), sin(2 pi x / M) and 1 for every token, in the default floating dtype.

    >>> match3_features(jnp.array([0, 4]), 4).tolist()
    [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    """
    angle = 2 * jnp.pi * (jnp.asarray(x) % modulus) / modulus
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), jnp.ones_like(angle)], axis=-1)


def match3_layer(modulus: int, length: int, epsilon: float = 1e-3) -> tuple[KronLayer, KronLayerConfig]:
    """A layer that maps `match3_features` of a sequence to its labels.

    Args:
      modulus: M >= 2.
      length: N, the longest sequence.
      epsilon: allowed distance from the labels. The logits are as large as C, so that float32 needs C 2^-23 << 1 (M up
        to a few hundred), and bfloat16 is not enough.

    Returns:
      Weights and configuration, one head, outputs (*batch, n, 1).

    Raises:
      ValueError: if an argument is out of range.

    >>> from jaxlib_methods.attention.kronecker.layer import kron_layer_apply
    >>> layer, config = match3_layer(8, 3)
    >>> y = kron_layer_apply(layer, match3_features(jnp.array([1, 2, 5]), 8), config=config)
    >>> y[:, 0].round(2).tolist()
    [1.0, 1.0, 1.0]
    """
    require_size("modulus", modulus, 2)
    require_size("length", length)
    require_positive("epsilon", epsilon)
    require(epsilon < 1, "epsilon", epsilon, "below 1")
    delta = (1 - math.cos(2 * math.pi / modulus)) / 2
    sharpness = math.log(length**2 / epsilon) / delta
    cos, sin, one, zero = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)
    negative = lambda vector: tuple(-value for value in vector)
    columns = lambda *vectors: jnp.array(vectors).T[:, None, :]
    params = KronLayer(
        query=sharpness * columns(cos, negative(cos), negative(sin), negative(sin), one),
        keys=(columns(cos, sin, cos, sin, zero), columns(cos, sin, sin, cos, zero)),
        values=(columns(one), columns(one)),
        out=jnp.ones((1, 1, 1)),
        null_keys=(jnp.array([[0.0, 0, 0, 0, 1]]), jnp.array([[0.0, 0, 0, 0, 1 - delta]])),
        null_values=(jnp.zeros((1, 1)), jnp.zeros((1, 1))),
    )
    return params, KronLayerConfig(heads=1, kv_heads=1, head_dim=5, value_dim=1, scale=1.0, null=True)
