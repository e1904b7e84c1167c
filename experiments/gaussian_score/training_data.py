"""Batches for training."""

import jax
import numpy as np


def random_rows(batch_size: int, arrays):
    """Batches drawn with replacement, a pure function of the step."""

    def batch(step: int):
        rows = np.random.default_rng(step).integers(0, len(jax.tree.leaves(arrays)[0]), batch_size)
        return jax.tree.map(lambda a: a[rows], arrays)

    return batch
