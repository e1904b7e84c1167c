"""Taps: how a network shows where its weights meet its inputs, so that its NTK need not form derivatives by weights.

For y = x w, summed over positions p, the derivative by w is an outer product, and with delta = df/dy

    sum_w df_i(a)/dw df_j(b)/dw = sum_pq <x_a[p], x_b[q]> <delta_ai[p], delta_bj[q]>.

A network written with `Taps.dense`, `Taps.conv` and `Taps.bias` in place of the plain operations needs nothing else.
`Taps` only computes. `Recorder` also adds a zero to each result, by which one can differentiate, and keeps what the
weight met. An operation is recorded if its weight is one of the parameters as they were passed in.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["PLAIN", "Recorder", "Site", "Taps", "patches"]


class Taps:
    """The operations of a network on its weights. Rows come first and channels last."""

    def dense(self, x: Float[Array, "n *s i"], weight: Float[Array, "i o"]) -> Float[Array, "n *s o"]:
        """The product x w of each position."""
        return jnp.einsum("...i,io->...o", x, weight)

    def conv(
        self, x: Float[Array, "n *s i"], weight: Float[Array, "*f i o"], strides: tuple[int, ...]
    ) -> Float[Array, "n *t o"]:
        """The convolution of padded inputs with filters."""
        spatial = "HWD"[: len(strides)]
        numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
        return jax.lax.conv_general_dilated(x, weight, strides, "VALID", dimension_numbers=numbers)

    def local_conv(
        self, x: Float[Array, "n *s i"], weight: Float[Array, "p f o"], sizes: tuple[int, ...], strides: tuple[int, ...]
    ) -> Float[Array, "n *t o"]:
        """A convolution with filters of its own at each position; a weight's rows are ordered as `patches`."""
        seen = patches(x, sizes, strides)
        y = jnp.einsum("npf,pfo->npo", seen.reshape(len(x), *weight.shape[:2]), weight)
        return y.reshape(*seen.shape[:-1], weight.shape[-1])

    def bias(self, y: Float[Array, "n *s o"], bias: Float[Array, " o"], scale: float = 1.0) -> Float[Array, "n *s o"]:
        """Adds `scale` times a bias."""
        return y + scale * bias.reshape((1,) * (y.ndim - 1) + bias.shape)


PLAIN = Taps()


class Site(NamedTuple):
    """One use of one weight: which leaf of the parameters, whether "shared", "local" or "bias", and a bias's scale."""

    leaf: int
    kind: str
    scale: float


class Recorder(Taps):
    """Computes and records.

    Attributes:
      sites: uses of weights, in order.
      inputs: what each weight met, (n, positions, f); None for biases.
      outputs: shapes and dtypes of the results.
      zeros: added to the results, one a site; None for none.
    """

    def __init__(self, leaves: list[Array], zeros: list[Array] | None = None):
        """Records uses of `leaves`, which are told apart by identity."""
        self.leaves, self.zeros = leaves, zeros
        self.sites, self.inputs, self.outputs = [], [], []

    def dense(self, x, weight):
        """As `Taps.dense`."""
        return self.show(super().dense(x, weight), weight, "shared", lambda: x.reshape(len(x), -1, x.shape[-1]))

    def conv(self, x, weight, strides):
        """As `Taps.conv`."""
        see = lambda: patches(x, weight.shape[:-2], strides).reshape(len(x), -1, math.prod(weight.shape[:-1]))
        return self.show(super().conv(x, weight, strides), weight, "shared", see)

    def local_conv(self, x, weight, sizes, strides):
        """As `Taps.local_conv`."""
        see = lambda: patches(x, sizes, strides).reshape(len(x), *weight.shape[:2])
        return self.show(super().local_conv(x, weight, sizes, strides), weight, "local", see)

    def bias(self, y, bias, scale=1.0):
        """As `Taps.bias`."""
        return self.show(super().bias(y, bias, scale), bias, "bias", lambda: None, scale)

    def show(self, y, weight, kind, see, scale=1.0):
        """Records y as the result of a weight and adds its zero; `see` gives what the weight met."""
        found = [i for i, leaf in enumerate(self.leaves) if leaf is weight]
        if not found:
            return y
        self.sites.append(Site(found[0], kind, scale))
        self.inputs.append(see())
        self.outputs.append(jax.ShapeDtypeStruct(y.shape, y.dtype))
        return y if self.zeros is None else y + self.zeros[len(self.sites) - 1]


def patches(x: Float[Array, "n *s c"], sizes: tuple[int, ...], strides: tuple[int, ...]) -> Float[Array, "n *t f"]:
    """The windows of padded inputs as rows of offsets times channels, offsets first."""
    spatial = x.shape[1:-1]
    counts = tuple((h - f) // s + 1 for h, f, s in zip(spatial, sizes, strides, strict=True))
    shifted = []
    for offset in itertools.product(*map(range, sizes)):
        index = tuple(slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offset, counts, strides, strict=True))
        shifted.append(x[(slice(None), *index)])
    return jnp.stack(shifted, -2).reshape(len(x), *counts, math.prod(sizes) * x.shape[-1])
