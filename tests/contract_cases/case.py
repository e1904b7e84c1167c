"""The form of a case, and small arrays that many cases share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlib_methods import nn, numerics


class Case(NamedTuple):
    """A call that stands for one public function, and what it promises beyond `jit`, `vmap` and a kept dtype."""

    call: Callable
    arguments: tuple[Any, ...]
    rows: tuple[int, ...]  # arguments whose leading axis may be split over devices
    grad: bool  # differentiable in all floating arguments
    bfloat16: str | None  # dtype of the result on bfloat16 arguments; None where they are not taken


def case(call, *arguments, rows=(), grad=True, bfloat16=None):
    return Case(call, arguments, rows, grad, bfloat16)


KEPT, WIDER = "bfloat16", "float32"

_random = np.random.default_rng(0)
normal = lambda *shape: _random.normal(size=shape)
positive = lambda *shape: _random.uniform(0.5, 2.0, size=shape)
array = lambda *values: np.array(values)

KEY = jax.random.key(0)
X, Y, POINTS = normal(8, 3), normal(8, 3), normal(16, 3)
SIGMA, SIGMAS = np.array(0.7), positive(8)
LABELS = np.arange(16) % 2
COVARIANCE, OTHER_COVARIANCE = np.cov(POINTS.T), np.cov(normal(3, 16))
GAUSSIAN = numerics.Gaussian(normal(3), np.linalg.qr(normal(3, 2))[0], array(2.0, 0.5), np.array(0.1))
MIXTURE = numerics.GaussianMixture(
    array(0.4, 0.6),
    numerics.Gaussian(normal(2, 3), np.linalg.qr(normal(2, 3, 2))[0], positive(2, 2), positive(2)),
)
VARIANCES = GAUSSIAN.variances
MOMENTS = numerics.Moments(np.array(16.0), normal(3), COVARIANCE)
PART = numerics.SoftmaxPart(normal(8), positive(8), normal(8, 3))
LAYERS = (nn.Dense(normal(3, 4), normal(4)), nn.Dense(normal(4, 2), normal(2)))
IMAGES = normal(8, 4, 4, 1)
GRID = array(3.0, 1.0, 0.0)
