"""Geometric augmentation with labels: the network is told what was done to an image, so samples stay unaugmented.

Each image gets one affine map, composed of flips, scalings, a rotation and a translation, each applied with
probability p (the horizontal flip always: a fair coin). The nine labels, zero for the identity, are

    x flip, y flip, log2 scale / 0.2, cos - 1 and sin of the rotation, stretch (2), translation (2).

A stretch by 2^(0.2 s) along an axis at angle f and 2^(-0.2 s) across it has the labels s (cos 2f, sin 2f), which tell
it wholly: (s, f) and (-s, f + 90 degrees) are the same stretch.

Karras et al. 2022, appendix F.2, table 6. Resampling here is bilinear with mirrored borders.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require, require_array

__all__ = ["NUM_LABELS", "augment"]

NUM_LABELS = 9
"""Numbers that describe one image's augmentation."""


class _Draw(NamedTuple):
    matrix: Array
    labels: Array


def augment(
    key: Key[Array, ""], images: Float[Array, "b h w c"], *, probability: float = 0.12
) -> tuple[Float[Array, "b h w c"], Float[Array, "b 9"]]:
    """Randomly transformed images and the labels that say how.

    Args:
      key: draws the transformations.
      images: a batch.
      probability: p, in [0, 1].

    Raises:
      ValueError: if `images` has another rank or `probability` is not in [0, 1].

    >>> images, labels = augment(jax.random.key(0), jnp.ones((2, 8, 8, 1)))
    >>> images.shape, labels.shape
    ((2, 8, 8, 1), (2, 9))
    """
    require_array("images", images, (None, None, None, None))
    require(0 <= probability <= 1, "probability", probability, "between 0 and 1")
    keys = jax.random.split(key, images.shape[0])
    draws = jax.vmap(lambda k: _draw(k, probability, images.dtype))(keys)
    return jax.vmap(_warp)(images, draws.matrix), draws.labels


def _draw(key: Array, probability: float, dtype) -> _Draw:
    keys = jax.random.split(key, 8)
    normal = jax.random.normal(keys[0], (4,), dtype)
    applied = jax.random.bernoulli(keys[1], probability, (5,)).astype(dtype)
    x_flip, y_flip = jax.random.bernoulli(keys[2], 0.5, (2,)).astype(dtype) * jnp.stack(
        [jnp.ones((), dtype), applied[0]]
    )
    scale = normal[0] * applied[1]
    turn = jax.random.uniform(keys[3], (), dtype, -jnp.pi, jnp.pi) * applied[2]
    frame = jax.random.uniform(keys[4], (), dtype, -jnp.pi, jnp.pi)
    stretch = normal[1] * applied[3]
    shift = normal[2:] * applied[4]
    flips = jnp.diag(jnp.stack([1 - 2 * y_flip, 1 - 2 * x_flip]))
    stretched = _rotation(frame) @ jnp.diag(2.0 ** (0.2 * stretch * jnp.array([1, -1], dtype))) @ _rotation(-frame)
    linear = 2.0 ** (0.2 * scale) * _rotation(turn) @ stretched @ flips
    matrix = jnp.concatenate([linear, 0.125 * shift[:, None]], axis=1)
    labels = [
        x_flip,
        y_flip,
        scale,
        jnp.cos(turn) - 1,
        jnp.sin(turn),
        stretch * jnp.cos(2 * frame),
        stretch * jnp.sin(2 * frame),
    ]
    return _Draw(matrix, jnp.concatenate([jnp.stack(labels), shift]))


def _rotation(angle: Array) -> Array:
    return jnp.stack([jnp.cos(angle), -jnp.sin(angle), jnp.sin(angle), jnp.cos(angle)]).reshape(2, 2)


def _warp(image: Array, matrix: Array) -> Array:
    """Reads the image where the inverse map sends each pixel; translations are in units of the image size."""
    size = jnp.array(image.shape[:2], image.dtype)
    rows, columns = jnp.meshgrid(*(jnp.arange(n, dtype=image.dtype) for n in image.shape[:2]), indexing="ij")
    centre = (size - 1) / 2
    target = jnp.stack([rows.ravel(), columns.ravel()]) - (centre + size * matrix[:, 2])[:, None]
    source = jnp.linalg.solve(matrix[:, :2], target) + centre[:, None]
    channel = lambda plane: map_coordinates(plane, list(source), order=1, mode="mirror").reshape(plane.shape)
    return jax.vmap(channel, in_axes=2, out_axes=2)(image)
