"""What is known of two batches of inputs between two layers of an infinitely wide network.

    nngp(x1, x2) = E[y(x1) y(x2)],    ntk(x1, x2) = sum_p dy(x1)/dp dy(x2)/dp,    cov(x) = E[y(x) y(x)],

y a channel, for pairs of positions where the inputs are images. Covariances of a batch with another are held for all
pairs of positions, (n1, n2, h, h', w, w'), or, where every later layer is known to ask for nothing else, for equal
positions, (n1, n2, h, w). The same holds for the covariance of an input with itself, which nonlinearities need.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = [
    "Extent",
    "KernelState",
    "Needs",
    "Side",
    "at_pairs",
    "diagonal_part",
    "equal_positions",
    "input_state",
    "same_entries",
    "variances",
]


class Extent(IntEnum):
    """For which positions a covariance is wanted."""

    NOTHING = 0
    DIAGONAL = 1
    FULL = 2


class Needs(NamedTuple):
    """What later layers ask of the covariances between the batches (at least DIAGONAL), and within each."""

    cross: Extent
    own: Extent


class Side(NamedTuple):
    """What belongs to inputs besides their channels.

    Attributes:
      mask: (n, spatial axes), True where a position is present; None if all are. See `presence`.
      graph: (n, new axes, spatial axes), for `aggregate`: how much each new position takes from each.
    """

    mask: Bool[Array, "n *s"] | None = None
    graph: Float[Array, "n ..."] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KernelState:
    """Covariances of one layer's channels.

    Attributes:
      nngp: (n1, n2) and spatial axes, see the module.
      ntk: the same; None if it is not asked for.
      own: covariance of each input of the two batches with itself, (n, spatial axes); None where nothing needs it.
      same: (n1, n2), True where the two inputs are one and the same example; None if no layer asks.
      side: what belongs to the inputs of the two batches here; None if nothing does.
      spatial: number of spatial axes.
      channels: width of the finite network here.
      gaussian: whether channels are centred Gaussian given the inputs, as after a layer of weights.
      record: what writes down or reads the variances that layers meet, see `own_variances`; None for neither.
    """

    nngp: Float[Array, "..."]
    ntk: Float[Array, "..."] | None
    own: tuple[Float[Array, "..."], Float[Array, "..."]] | None
    same: Array | None
    side: tuple[Side, Side] | None
    spatial: int = field(metadata={"static": True})
    channels: int = field(metadata={"static": True})
    gaussian: bool = field(metadata={"static": True})
    record: Any = field(default=None, metadata={"static": True})

    @property
    def full(self) -> bool:
        """Whether pairs of different positions are held."""
        return self.nngp.ndim == 2 + 2 * self.spatial and self.spatial > 0

    @property
    def own_full(self) -> bool:
        """The same, of `own`."""
        return self.own is not None and self.own[0].ndim == 1 + 2 * self.spatial and self.spatial > 0

    def map(self, cross, own, **changes) -> "KernelState":
        """Applies one function to nngp and ntk, and one to both entries of `own`."""
        return replace(
            self,
            nngp=cross(self.nngp),
            ntk=None if self.ntk is None else cross(self.ntk),
            own=None if self.own is None else (own(self.own[0]), own(self.own[1])),
            **changes,
        )


def input_state(
    x1: Float[Array, "n1 *s c"],
    x2: Float[Array, "n2 *s c"],
    needs: Needs,
    *,
    ntk: bool,
    same: Array | None = None,
    side: tuple[Side, Side] | None = None,
) -> KernelState:
    """The state of the inputs themselves, <x1, x2> / c for pairs of positions; their ntk is 0.

    >>> needs = Needs(Extent.DIAGONAL, Extent.NOTHING)
    >>> input_state(jnp.ones((2, 5, 3)), jnp.ones((1, 5, 3)), needs, ntk=False).nngp.shape
    (2, 1, 5)
    """
    spatial, channels = x1.ndim - 2, x1.shape[-1]
    here, there = "hwdpqr"[:spatial], "HWDPQR"[:spatial]
    pairs = "".join(a + b for a, b in zip(here, there, strict=True))
    nngp = {
        Extent.FULL: lambda: _product(f"a{here}c,b{there}c->ab{pairs}", x1, x2),
        Extent.DIAGONAL: lambda: _product(f"a{here}c,b{here}c->ab{here}", x1, x2),
    }[needs.cross]()
    own = {
        Extent.FULL: lambda x: _product(f"a{here}c,a{there}c->a{pairs}", x, x),
        Extent.DIAGONAL: lambda x: jnp.sum(x**2, -1) / channels,
    }
    return KernelState(
        nngp,
        jax.lax.optimization_barrier(jnp.zeros_like(nngp)) if ntk else None,  # folding constants takes seconds
        (own[needs.own](x1), own[needs.own](x2)) if needs.own else None,
        same,
        side,
        spatial,
        channels,
        gaussian=False,
    )


def diagonal_part(k: Array, lead: int, spatial: int) -> Array:
    """Equal positions of an array over pairs of positions that come after `lead` axes."""
    for _ in range(spatial):
        k = jnp.diagonal(k, axis1=lead, axis2=lead + 1)  # the new axis comes last
    return k


def variances(state: KernelState) -> tuple[Array, Array]:
    """Variances of both batches, shaped to meet `nngp`.

    >>> needs = Needs(Extent.FULL, Extent.DIAGONAL)
    >>> [q.shape for q in variances(input_state(jnp.ones((2, 5, 3)), jnp.ones((1, 5, 3)), needs, ntk=False))]
    [(2, 1, 5, 1), (1, 1, 1, 5)]
    """
    assert state.own is not None
    spatial = state.spatial
    q1, q2 = (diagonal_part(q, 1, spatial) if state.own_full else q for q in state.own)
    if not state.full:
        return q1[:, None], q2[None]
    return at_pairs(q1)[0][:, None], at_pairs(q2)[1][None]


def at_pairs(a: Array) -> tuple[Array, Array]:
    """Numbers (n, h, w) of positions, shaped to meet pairs of positions (n, h, h', w, w') at the first and the second.

    >>> [part.shape for part in at_pairs(jnp.ones((2, 5, 4)))]
    [(2, 5, 1, 4, 1), (2, 1, 5, 1, 4)]
    """
    first = tuple(size for h in a.shape[1:] for size in (h, 1))
    second = tuple(size for h in a.shape[1:] for size in (1, h))
    return a.reshape(len(a), *first), a.reshape(len(a), *second)


def same_entries(state: KernelState) -> Array:
    """True where `nngp` is the variance of one entry: the same example at the same position."""
    assert state.same is not None
    same = state.same.reshape(state.same.shape + (1,) * (state.nngp.ndim - 2))
    return same & equal_positions(state.nngp, 2, state.spatial) if state.full else same


def equal_positions(k: Array, lead: int, spatial: int) -> Array:
    """True where in all pairs of positions, in the axes after `lead`, both are the same."""
    equal = jnp.ones((1,) * k.ndim, bool)
    for axis in range(lead, lead + 2 * spatial, 2):
        eye = jnp.eye(k.shape[axis], dtype=bool)
        equal = equal & eye.reshape((1,) * axis + eye.shape + (1,) * (k.ndim - axis - 2))
    return equal


def _product(subscripts: str, x: Array, y: Array) -> Array:
    return jnp.einsum(subscripts, x, y, precision="highest") / x.shape[-1]
