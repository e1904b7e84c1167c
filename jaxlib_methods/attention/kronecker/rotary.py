"""Rotary positions for determinant logits: each chunk of three channels turns about one axis.

det[R_i q; R_j k_1; R_l k_2] = det[q; R_(j - i) k_1; R_(l - i) k_2]: relative positions, which trilinear logits lose.
Roy et al. 2025, "Fast and Simplex", section 5.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require_array, require_positive

__all__ = ["rotate_chunks"]


def rotate_chunks(
    x: Float[Array, "*batch n h d"], positions: Float[Array, " n"], *, base: float = 10_000.0
) -> Float[Array, "*batch n h d"]:
    """Turns chunk c of each row, channels 3c to 3c + 2, by the angle position base^(-c / chunks) in its first plane.

    Args:
      x: queries or keys; the d mod 3 last channels stay.
      positions: of the rows.
      base: ratio of the highest and lowest angular frequency, about.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or `base` is not positive.

    >>> rotate_chunks(jnp.ones((1, 1, 3)), jnp.array([jnp.pi / 2])).round(3).tolist()
    [[[-1.0, 1.0, 1.0]]]
    """
    require_array("x", x, (*x.shape[:-3], *x.shape[-3:]))
    require_array("positions", positions, (x.shape[-3],))
    require_positive("base", base)
    chunks = x.shape[-1] // 3
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rates = base ** (-jnp.arange(chunks, dtype=wide) / max(1, chunks))
    angles = (positions.astype(wide)[:, None] * rates[None]).reshape(*[1] * (x.ndim - 3), -1, 1, chunks)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b, c = (x[..., i : 3 * chunks : 3] for i in range(3))
    turned = jnp.stack([cos * a - sin * b, sin * a + cos * b, c.astype(wide)], axis=-1)
    turned = turned.reshape(*x.shape[:-1], 3 * chunks).astype(x.dtype)
    return jnp.concatenate([turned, x[..., 3 * chunks :]], axis=-1)
