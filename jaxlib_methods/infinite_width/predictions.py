"""What gradient descent makes of an infinitely wide network, at any training time, from its kernels alone.

With Theta the NTK, K the NNGP kernel, d training and t test inputs, the loss |f - y|^2 / (2 size), size the number of
targets, and s = learning rate times steps / size,

    f_d(s) = y + e^(-s Theta) (f_d(0) - y),        f_t(s) = f_t(0) - C (f_d(0) - y),
    C(s) = Theta_td Theta^-1 (I - e^(-s Theta)),

and over random initial networks f is Gaussian with

    mean C y,        covariance K_tt + C K C^T - C K_dt - (C K_dt)^T.

Ridges are relative to the mean of the kernel's diagonal. At s = infinity, where the exponential is 0, directions in
which Theta is 0 to rounding stay untrained.

Jacot, Gabriel and Hongler, 2018; Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models", 2019.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.infinite_width.network_kernel import KernelPair
from jaxlib_methods.numerics.checks import require_array, require_nonnegative, require_positive, require_size
from jaxlib_methods.numerics.psd import psd_solve
from jaxlib_methods.numerics.psd_sharded import psd_solve_sharded

__all__ = [
    "MseDynamics",
    "Posterior",
    "gp_posterior",
    "max_learning_rate",
    "mse_dynamics",
    "mse_predict",
    "ntk_posterior",
]


class MseDynamics(NamedTuple):
    """Eigenvalues and eigenvectors of the kernel on training inputs, targets, and learning rate / size."""

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]
    y: Float[Array, "n o"]
    rate: Float[Array, ""]


class Posterior(NamedTuple):
    """A Gaussian over functions at test inputs; outputs are independent and share the covariance."""

    mean: Float[Array, "m o"]
    covariance: Float[Array, "m m"]


def mse_dynamics(
    kernel: Float[Array, "n n"],
    y: Float[Array, "n o"],
    *,
    learning_rate: ArrayLike = 1.0,
    ridge: ArrayLike = 0.0,
) -> MseDynamics:
    """Prepares `mse_predict` for one training set.

    Args:
      kernel: NTK between training inputs, infinite or empirical. One with all outputs, (n, n, o, o), is given as
        (n o, n o) and the targets as (n o, 1), with the learning rate divided by o.
      y: targets.
      learning_rate: of gradient descent on |f - y|^2 / (2 n o); a step is a unit of time.
      ridge: added to the diagonal, relative to its mean.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, or a known learning rate is not positive or a known ridge negative.

    Cost: an eigendecomposition. Derivatives are not finite where eigenvalues coincide.

    >>> dynamics = mse_dynamics(jnp.eye(2), jnp.ones((2, 1)))
    >>> mse_predict(dynamics, 0.0, jnp.zeros((2, 1))).tolist()
    [[0.0], [0.0]]
    """
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_array("y", y, (len(kernel), None))
    require_positive("learning_rate", learning_rate)
    require_nonnegative("ridge", ridge)
    values, vectors = jnp.linalg.eigh((kernel + kernel.T) / 2)
    values = jnp.maximum(values, 0) + jnp.asarray(ridge, kernel.dtype) * jnp.trace(kernel) / len(kernel)
    return MseDynamics(values, vectors, y, jnp.asarray(learning_rate, kernel.dtype) / y.size)


def mse_predict(
    dynamics: MseDynamics,
    t: ArrayLike | None,
    f0: Float[Array, "n o"],
    kernel_test: Float[Array, "m n"] | None = None,
    f0_test: Float[Array, "m o"] | None = None,
) -> Float[Array, "n o"] | Float[Array, "m o"]:
    """Outputs after `t` steps of gradient descent in the limit of small learning rates.

    Args:
      dynamics: from `mse_dynamics`.
      t: steps, nonnegative; None for infinitely many.
      f0: outputs at the training inputs before training.
      kernel_test: NTK between test and training inputs; None for the outputs at the training inputs.
      f0_test: outputs at the test inputs before training; zeros if None.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or a known time is negative.

    >>> dynamics = mse_dynamics(jnp.eye(2), jnp.ones((2, 1)))
    >>> mse_predict(dynamics, None, jnp.zeros((2, 1)), jnp.array([[0.5, 0.0]])).tolist()
    [[0.5]]
    """
    require_array("f0", f0, dynamics.y.shape)
    along = _product(dynamics.vectors.T, dynamics.y - f0)
    learned, inverse = _learned(dynamics, t)
    if kernel_test is None:
        return f0 + _product(dynamics.vectors, learned[:, None] * along)
    require_array("kernel_test", kernel_test, (None, len(f0)))
    change = _product(kernel_test, _product(dynamics.vectors, inverse[:, None] * along))
    if f0_test is None:
        return change
    require_array("f0_test", f0_test, change.shape)
    return f0_test + change


def ntk_posterior(
    train: KernelPair,
    test: KernelPair,
    nngp_test: Float[Array, "m m"],
    y: Float[Array, "n o"],
    t: ArrayLike | None = None,
    *,
    learning_rate: ArrayLike = 1.0,
    ridge: ArrayLike = 0.0,
) -> Posterior:
    """Mean and covariance over random networks, each trained for `t` steps.

    Args:
      train: kernels between training inputs, `network_gram(..., get="both")`.
      test: kernels between test and training inputs.
      nngp_test: NNGP kernel between test inputs.
      y: targets.
      t: steps, nonnegative; None for infinitely many.
      learning_rate: as in `mse_dynamics`.
      ridge: added to the NTK's diagonal, relative to its mean.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or a known number is out of range.

    >>> one = KernelPair(jnp.eye(1), jnp.eye(1))
    >>> ntk_posterior(one, one, jnp.eye(1), jnp.ones((1, 1)), 0.0).covariance.tolist()
    [[1.0]]
    """
    dynamics = mse_dynamics(train.ntk, y, learning_rate=learning_rate, ridge=ridge)
    require_array("test.ntk", test.ntk, (None, len(y)))
    require_array("nngp_test", nngp_test, (len(test.ntk),) * 2)
    along = _product(test.ntk, dynamics.vectors) * _learned(dynamics, t)[1][None]
    c = _product(along, dynamics.vectors.T)
    cross = _product(c, test.nngp.T)
    covariance = nngp_test + _product(_product(c, train.nngp), c.T) - cross - cross.T
    return Posterior(_product(c, y), covariance)


def gp_posterior(
    kernel: Float[Array, "n n"],
    kernel_test: Float[Array, "m n"],
    kernel_between: Float[Array, "m m"],
    y: Float[Array, "n o"],
    *,
    ridge: ArrayLike = 0.0,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> Posterior:
    """Exact Gaussian-process regression: the Bayesian posterior of an infinitely wide network with the NNGP kernel.

    With the NTK in its place the mean is that of infinitely long training from f = 0.

    Args:
      kernel: between training inputs.
      kernel_test: between test and training inputs.
      kernel_between: between test inputs.
      y: targets.
      ridge: noise variance relative to the mean of the kernel's diagonal; at 0 a singular kernel gives the least-norm
        solution, except on a mesh.
      mesh: devices, on which `kernel` and `kernel_test` are split by rows, see `psd_solve_sharded`.
      axis: mesh axis of the rows.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or a known ridge is negative.

    Cost: n^3 / 3 + n^2 m. In float32 give a ridge of 1e-6 or more, or use float64.

    >>> posterior = gp_posterior(jnp.eye(1), jnp.eye(1), jnp.eye(1), jnp.ones((1, 2)), ridge=1.0)
    >>> posterior.mean.round(4).tolist(), posterior.covariance.tolist()
    ([[0.5, 0.5]], [[0.5]])
    """
    require_array("y", y, (len(kernel), None))
    require_array("kernel_test", kernel_test, (None, len(kernel)))
    require_array("kernel_between", kernel_between, (len(kernel_test),) * 2)
    noise = jnp.asarray(ridge, kernel.dtype) * jnp.trace(kernel) / len(kernel)
    right = jnp.concatenate([y, kernel_test.T], 1)
    if mesh is None:
        weights = psd_solve(kernel, right, noise)
    else:
        weights = psd_solve_sharded(kernel, right, noise, mesh=mesh, axis=axis)
    result = _product(kernel_test, weights)
    outputs = y.shape[1]
    covariance = kernel_between - result[:, outputs:]
    return Posterior(result[:, :outputs], (covariance + covariance.T) / 2)


def max_learning_rate(kernel: Float[Array, "n n"], outputs: int = 1, *, momentum: float = 0.0) -> Float[Array, ""]:
    """The learning rate above which full-batch descent on the mean squared error diverges: 2 size (1 + m) / lambda_max.

    Args:
      kernel: NTK between training inputs.
      outputs: targets an input.
      momentum: m of heavy-ball momentum, 0 for none.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if it is not square, or a number is out of range.

    >>> float(max_learning_rate(jnp.diag(jnp.array([4.0, 1.0]))))
    1.0
    """
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_size("outputs", outputs)
    require_nonnegative("momentum", momentum)
    return 2 * len(kernel) * outputs * (1 + momentum) / jnp.linalg.eigvalsh(kernel)[-1]


def _learned(dynamics: MseDynamics, t: ArrayLike | None) -> tuple[Array, Array]:
    """1 - e^(-s lambda), and the same divided by lambda."""
    values = dynamics.values
    if t is None:
        kept = values > 4 * len(values) ** 0.5 * jnp.finfo(values.dtype).eps * values[-1]
        return kept.astype(values.dtype), jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    require_nonnegative("t", t)
    s = dynamics.rate * jnp.asarray(t, values.dtype)
    small = values * s < jnp.finfo(values.dtype).eps
    learned = -jnp.expm1(-s * values)
    return learned, jnp.where(small, s, learned / jnp.where(small, 1, values))


def _product(a: Array, b: Array) -> Array:
    return jnp.einsum("ij,jk->ik", a, b, precision="highest")
