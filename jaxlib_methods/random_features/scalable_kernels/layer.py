"""Scalable neural network kernels: a dense layer f(x W + b) whose input and parameters meet only in a dot product.

    f(w.x + b) ~ E[Phi(x).Psi(w, b)],    y = Phi(x) Psi + shift,    Phi: R^d -> R^p,  Psi: (p, l).

Phi is frozen; what is trained is Psi itself, p l numbers in place of d l, started from the features of pretrained or
random weights. The kernel (`FourierKernel`, `ReluKernel`, `PowerSeriesKernel`, or any object with their methods) is a
static argument. Constants are a tree of their own, beside the parameters: save both, and give the optimiser only the
parameters. A layer costs m (d + l) operations a row against d l, less where m < d l / (d + l).

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, sections 3 and 4.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Key, PyTree

from jaxlib_methods.numerics.checks import require, require_array, require_positive, require_size

__all__ = [
    "Kernel",
    "SnnkParams",
    "rescale_rows",
    "snnk_apply",
    "snnk_constants",
    "snnk_features",
    "snnk_init",
    "snnk_moments",
    "snnk_weight_features",
]


@runtime_checkable
class Kernel(Protocol):
    """What a kernel provides: draws, both feature maps, and the moments of one product of them. Hashable."""

    @property
    def offset(self) -> float:
        """Constant term of f, which no feature carries."""
        ...

    def width(self, num_features: int) -> int:
        """Real features p to a row."""
        ...

    def constants(
        self, key: Array, dim: int, num_features: int, *, bias: bool, law: str, dtype: jax.typing.DTypeLike
    ) -> Any:
        """Draws of `num_features` features of `dim` inputs."""
        ...

    def input_features(self, constants: Any, x: Array) -> tuple[Array, Array | None]:
        """Phi of rows (n, d) divided by e^s, (n, p), and s, (n, 1); None for s = 0."""
        ...

    def weight_features(self, constants: Any, weight: Array, bias: Array | None) -> Array:
        """Psi of the columns of `weight`, (l, p)."""
        ...

    def moments(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Mean and variance (n,) of one product of features for rows x, w (n, d) and b (n,)."""
        ...


class SnnkParams(NamedTuple):
    """What is trained: an affine map of features; `shift` is None where there is nothing to add."""

    psi: Float[Array, "p l"]
    shift: Float[Array, " l"] | None


def snnk_constants(
    key: Key[Array, ""],
    dim: int,
    num_features: int,
    *,
    kernel: Kernel,
    bias: bool = True,
    law: str = "gaussian",
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> PyTree:
    """Draws the frozen part of a layer.

    Args:
      key: typed PRNG key, another one for each layer.
      dim: d, at least 1.
      num_features: m, at least 1; a multiple of the lines for a stratified spectrum.
      kernel: static description of f.
      bias: whether the layer has a bias.
      law: of the projections, "gaussian" or "orthogonal" (less variance; every row alone is Gaussian).
      dtype: of the constants; features are computed in float32 at least.

    Raises:
      ValueError: if a size or the law is out of range.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> snnk_constants(jax.random.key(0), 3, 8, kernel=ReluKernel()).projections.shape
    (8, 3)
    """
    require_size("dim", dim)
    require_size("num_features", num_features)
    return kernel.constants(key, dim, num_features, bias=bias, law=law, dtype=dtype)


def snnk_init(
    key: Key[Array, ""],
    weight: Float[Array, "d l"],
    bias: Float[Array, " l"] | None = None,
    *,
    num_features: int,
    kernel: Kernel,
    law: str = "gaussian",
) -> tuple[SnnkParams, PyTree]:
    """A layer that stands in for f(x weight + bias).

    Args:
      key: typed PRNG key, another one for each layer.
      weight: pretrained or random weights; scale them and the inputs so that the variance is moderate (`snnk_moments`).
      bias: of the layer; None for none.
      num_features: as in `snnk_constants`.
      kernel: static description of f.
      law: as in `snnk_constants`.

    Returns:
      The parameters, in the dtype of `weight`, and the constants, in float32 at least.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes or sizes do not fit, or the features of known weights would overflow.

    >>> from jaxlib_methods.random_features import FourierKernel, cosine_spectrum
    >>> kernel = FourierKernel(cosine_spectrum(), split="weight")
    >>> params, constants = snnk_init(jax.random.key(0), jnp.ones((3, 2)), num_features=8, kernel=kernel)
    >>> params.psi.shape
    (8, 2)
    """
    require_array("weight", weight, (None, None))
    dtype = jnp.promote_types(weight.dtype, jnp.float32)
    constants = snnk_constants(
        key, weight.shape[0], num_features, kernel=kernel, bias=bias is not None, law=law, dtype=dtype
    )
    psi = snnk_weight_features(constants, weight, bias, kernel=kernel).astype(weight.dtype)
    shift = jnp.full(weight.shape[1], kernel.offset, weight.dtype) if kernel.offset else None
    return SnnkParams(psi, shift), constants


def snnk_features(constants: PyTree, x: Float[Array, "*b d"], *, kernel: Kernel) -> Float[Array, "*b p"]:
    """Phi(x): frozen features of the inputs, of which every layer output is a linear function.

    Args:
      constants: from `snnk_constants`; no gradient passes to them.
      x: inputs.
      kernel: static description of f.

    Returns:
      The features, float32 or wider.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if the rows do not have the layer's dimension, or known rows are so long that features overflow.

    Cost: one (b, d) x (d, m) product (K of them for a power series of degree K).

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> constants = snnk_constants(jax.random.key(0), 3, 8, kernel=ReluKernel(), bias=False)
    >>> float(snnk_features(constants, jnp.zeros((1, 3)), kernel=ReluKernel()).sum())
    0.0
    """
    features, log_scale = _input_features(constants, x, kernel)
    features = features if log_scale is None else features * jnp.exp(log_scale)
    return features.reshape(*x.shape[:-1], -1)


def snnk_weight_features(
    constants: PyTree, weight: Float[Array, "d l"], bias: Float[Array, " l"] | None = None, *, kernel: Kernel
) -> Float[Array, "p l"]:
    """Psi(weight, bias): features of the parameters, one column a unit.

    Args:
      constants: from `snnk_constants`.
      weight: weights, one column a unit.
      bias: of the units; 0 if None.
      kernel: static description of f.

    Returns:
      Psi, float32 or wider.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not fit or the features of known weights overflow.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> constants = snnk_constants(jax.random.key(0), 3, 8, kernel=ReluKernel())
    >>> snnk_weight_features(constants, jnp.ones((3, 2)), kernel=ReluKernel()).shape
    (8, 2)
    """
    require_array("weight", weight, (None, None))
    if bias is not None:
        require_array("bias", bias, weight.shape[1:])
    constants = jax.lax.stop_gradient(constants)
    _require_dimension("weight", weight.shape[0], constants)
    wide = jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32)), (weight, bias))
    return kernel.weight_features(constants, *wide).T


def snnk_apply(
    params: SnnkParams, constants: PyTree, x: Float[Array, "*b d"], *, kernel: Kernel
) -> Float[Array, "*b l"]:
    """The layer: Phi(x) psi + shift, in the dtype of `x`; features and sums in float32 or wider.

    Args:
      params: from `snnk_init`, or trained.
      constants: frozen, from `snnk_init`.
      x: inputs.
      kernel: static description of f.

    Raises:
      TypeError, ValueError: as `snnk_features`, or if `psi` does not have a row for every feature.

    Under a mesh, split rows of `x` over one axis and, over another, the rows of `projections`, the other constants and
    the rows of `psi`: the only communication is the sum over features.

    >>> from jaxlib_methods.random_features import FourierKernel, cosine_spectrum
    >>> kernel, w = FourierKernel(cosine_spectrum()), jnp.zeros((3, 1))
    >>> params, constants = snnk_init(jax.random.key(0), w, num_features=8, kernel=kernel)
    >>> round(float(snnk_apply(params, constants, jnp.zeros((1, 3)), kernel=kernel)[0, 0]), 6)  # cos(0)
    1.0
    """
    features, log_scale = _input_features(constants, x, kernel)
    require_array("psi", params.psi, (features.shape[-1], None))
    y = features @ params.psi.astype(features.dtype)
    if log_scale is not None:
        y = y * jnp.exp(log_scale)
    if params.shift is not None:
        y = y + params.shift.astype(y.dtype)[None]
    return y.astype(x.dtype).reshape(*x.shape[:-1], -1)


def snnk_moments(
    x: Float[Array, "*b d"], w: Float[Array, "*b d"], b: Float[Array, "*b"] | None = None, *, kernel: Kernel
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """What a layer estimates, and the exact variance of one feature; m independent features have variance / m.

    For random frequencies the average over xi is included, by quadrature; for stratified lines the variance is that of
    m features in equal shares, times m.

    Args:
      x: inputs.
      w: weights of one unit for each input, of the same shape.
      b: biases; 0 if None.
      kernel: static description of f.

    Returns:
      Mean and variance. The mean is f itself, or the kernel for ReLU features.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes differ, there is no closed form, or the variance of known arguments is infinite (the law of
        the frequencies does not fall faster than the features grow) or overflows. Inside `jit` such entries are inf.

    Memory: O(b) for lines, O(4001 b) for a density.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> snnk_moments(jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0]), kernel=ReluKernel())[0].tolist()  # |x| |w| / 2
    1.0
    """
    require_array("x", x, (None,) * x.ndim)
    require_array("w", w, x.shape)
    b = jnp.zeros(x.shape[:-1], x.dtype) if b is None else b
    require_array("b", b, x.shape[:-1])
    flat = lambda a: jnp.asarray(a).reshape(-1, x.shape[-1])
    mean, variance = kernel.moments(flat(x), flat(w), jnp.asarray(b).reshape(-1))
    if not isinstance(variance, Tracer):
        finite = bool(jnp.isfinite(variance).all())
        require(finite, "x and w", "an infinite variance", "so short that the features' second moment is finite")
    return mean.reshape(b.shape), variance.reshape(b.shape)


def rescale_rows(x: Float[Array, "*b d"], norm: float) -> Float[Array, "*b d"]:
    """Rows scaled to one norm; a row of zeros stays.

    Exponential features of normalised activations, |x| = d^(1/2), have no finite precision: give them a norm of about
    1, or d^(1/4), first.

    Args:
      x: rows.
      norm: their common length, positive.

    Raises:
      ValueError: if the norm is not positive.

    >>> rescale_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]]), 1.0).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    require_positive("norm", norm)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = (wide**2).sum(-1, keepdims=True)
    return (wide * (norm * jax.lax.rsqrt(jnp.where(square > 0, square, 1)))).astype(x.dtype)


def _input_features(constants: PyTree, x: Array, kernel: Kernel) -> tuple[Array, Array | None]:
    require_array("x", x, (None,) * x.ndim)
    constants = jax.lax.stop_gradient(constants)
    _require_dimension("x", x.shape[-1], constants)
    rows = x.reshape(-1, x.shape[-1])
    return kernel.input_features(constants, rows.astype(jnp.promote_types(x.dtype, jnp.float32)))


def _require_dimension(name: str, dim: int, constants: Any) -> None:
    expected = constants[0].shape[-1]
    require(dim == expected, name, f"dimension {dim}", f"of the dimension {expected} that the features were drawn for")
