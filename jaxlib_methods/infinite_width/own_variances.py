"""Variances of single inputs at every layer, computed once an input instead of once a pair.

Behind a pool an input's variances come from its covariances between all pairs of positions, which cost as much as
those of a pair of inputs. A first pass over single inputs writes down the variances that each layer reads, in the order
in which layers are met; the pass over pairs reads them in that order and carries no covariance of an input with itself.
"""

from dataclasses import replace

from jaxtyping import Array

from jaxlib_methods.infinite_width.kernel_state import Extent, KernelState, Needs, diagonal_part

__all__ = ["Reader", "Writer"]


class Writer:
    """Writes down the variances of the first batch that layers read; `complete` is false if one reads covariances."""

    def __init__(self):
        """Begins with nothing."""
        self.written: list[Array] = []
        self.complete = True

    def meet(self, state: KernelState, needs: Needs, reads: Extent) -> tuple[KernelState, Needs]:
        """Called before a layer's kernel with what is needed of its output and what the layer itself reads of `own`."""
        self.complete &= reads < Extent.FULL
        if reads:
            assert state.own is not None
            own = state.own[0]
            self.written.append(diagonal_part(own, 1, state.spatial) if state.own_full else own)
        return state, needs


class Reader:
    """Gives layers the variances of both batches in the order in which they were written."""

    def __init__(self, first: list[Array], second: list[Array]):
        """Takes what was written for the inputs of both batches."""
        self.values = iter(zip(first, second, strict=True))

    def meet(self, state: KernelState, needs: Needs, reads: Extent) -> tuple[KernelState, Needs]:
        """As that of `Writer`; nothing more is needed of `own`."""
        return replace(state, own=next(self.values) if reads else None), needs._replace(own=Extent.NOTHING)
