"""A small convolutional classifier of images, whose penultimate features measure the quality of samples."""

import jax
from flax import nnx
from jaxtyping import Array, Float

__all__ = ["Classifier"]


class Classifier(nnx.Module):
    """Three strided convolutions and two dense layers; SiLU between.

    Attributes:
      features: width of the last hidden layer.
    """

    def __init__(self, *, size: int, channels: int, classes: int, features: int = 64, rngs: nnx.Rngs):
        """Makes a classifier of images of `size` x `size` x `channels`; the size is a multiple of 8."""
        widths = (channels, 32, 64, 64)
        layer = lambda i, kernel: nnx.Conv(widths[i], widths[i + 1], (kernel, kernel), strides=2, rngs=rngs)
        self.convolutions = nnx.List([layer(0, 5), layer(1, 3), layer(2, 3)])
        self.hidden = nnx.Linear(64 * (size // 8) ** 2, features, rngs=rngs)
        self.last = nnx.Linear(features, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b k"], Float[Array, "b f"]]:
        """Returns logits and features."""
        for convolution in self.convolutions:
            x = jax.nn.silu(convolution(x))
        features = jax.nn.silu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.last(features), features
