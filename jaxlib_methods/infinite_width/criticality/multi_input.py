"""What depth makes of several inputs, to order 1 / width: the tensors of one input, for all pairs of inputs.

Metric and NTK are matrices over inputs, their covariances have four indices, V_abcd = n Cov(G_ab, G_cd). With <.> over
N(0, K), X_ab = C_W <sigma'_a sigma'_b>, r = lambda_W / C_W, J = C_W d<sigma_a sigma_b> / dK and J^p = dX / dK,

    K'  = C_b + C_W <sigma_a sigma_b>               Theta' = lambda_b + lambda_W <sigma_a sigma_b> + X Theta
    V'  = C_W^2 Cov(sigma_a sigma_b, sigma_c sigma_d) + J V J^T
    G1' = J G1 + (C_W / 2) d^2<sigma_a sigma_b> / dK^2 : V
    D'  = r V' + C_W^2 Cov(sigma'_a sigma'_b, sigma_c sigma_d) Theta_ab + Theta_ab J^p V J^T + X_ab D J^T
    A'  = r^2 V' + r (S + S^T) + C_W^2 Cov(sigma'_a sigma'_b, sigma'_c sigma'_d) Theta_ab Theta_cd
          + (X A X + Theta J^p D^T X + X D J^pT Theta + Theta J^p V J^pT Theta),          S = D' - r V'
    B'_acbd = C_W^2 <sigma'_a sigma'_b sigma'_c sigma'_d> Theta_ab Theta_cd + X_ac X_bd B_acbd
    F'_acbd = C_W^2 <sigma'_a sigma_c sigma'_b sigma_d> Theta_ab
              + C_W^2 sum_ef <d_e (sigma'_a sigma_c)> <d_f (sigma'_b sigma_d)> F_aebf.

By Price's theorem derivatives in the kernel are expectations of derivatives, d/dK_ab = <d_a d_b> and
d/dK_aa = <d_a^2> / 2: no root is differentiated, and coinciding inputs are no exception. Derivatives of a kink are
distributions, whose parts at the kink are known by means of fewer numbers.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapters 4 and 8; the forms here are derived.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.infinite_width.criticality.activation_function import (
    ActivationFunction,
    activation_function,
    jumps,
    scale_invariant_slopes,
)
from jaxlib_methods.infinite_width.criticality.joint_nodes import check_inputs, joint_rule, kinked_rule, root
from jaxlib_methods.infinite_width.criticality.layer_means import LayerMeans, einsum, node_means
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales, check_widths
from jaxlib_methods.infinite_width.criticality.scale_invariant import scale_invariant_means
from jaxlib_methods.numerics.checks import require, require_array, require_known, require_size

__all__ = ["MultiInputTheory", "multi_input_recursion", "pair_matrix"]


class MultiInputTheory(NamedTuple):
    """One entry for each layer; all but `kernel` and `ntk` count in units of 1 / width.

    Attributes:
      kernel: K.
      ntk: Theta.
      vertex: V_abcd = n Cov(G_ab, G_cd).
      kernel_shift: G1.
      ntk_kernel: D_abcd, of the NTK's pair ab and the metric's cd.
      ntk_variance: A_abcd.
      ntk_off_diagonal: B, indexed (a, c, b, d): n E H_ij;ab H_ij;cd for neurons i != j.
      ntk_outputs: F, indexed (a, c, b, d): n E H_ij;ab z_i;c z_j;d.
    """

    kernel: Float[Array, "l n n"]
    ntk: Float[Array, "l n n"]
    vertex: Float[Array, "l n n n n"]
    kernel_shift: Float[Array, "l n n"]
    ntk_kernel: Float[Array, "l n n n n"]
    ntk_variance: Float[Array, "l n n n n"]
    ntk_off_diagonal: Float[Array, "l n n n n"]
    ntk_outputs: Float[Array, "l n n n n"]


def multi_input_recursion(
    scales: LayerScales,
    kernel: Float[Array, "n n"],
    key: Key[Array, ""] | None = None,
    widths: Float[ArrayLike, "*l"] = 1.0,
    *,
    activation: str | ActivationFunction,
    depth: int,
    degree: int | None = None,
    samples: int = 2**15,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> MultiInputTheory:
    """All tensors of several inputs at every layer, for activations that are smooth or have a kink at 0.

    Scale-invariant activations (linear, relu, leaky_relu, abs and functions like them) are exact for any number of
    inputs. For others with a kink (elu, selu) means have relative errors of about 1e-9 for two inputs, 1e-6 for three
    and 1e-4 for four, 4e-3 where the four have correlations of 0.9.

    Args:
      scales: variances and rates.
      kernel: K of the first layer, C_b + C_W x_a.x_b / inputs; positive semidefinite.
      key: for more than four inputs, or on demand: expectations are then over random nodes, unless the activation is
        scale-invariant.
      widths: as in `single_input_recursion`.
      activation: as in `activation_function`; continuous.
      depth: layers, the first included.
      degree: nodes for each input, 2 to 500; 100, 64, 32 and 20 for one to four inputs if None. With a kink, for each
        angle between kinks; 24, 24 and 10 for two to four inputs.
      samples: random nodes.
      mesh: devices; tensors of four indices are split over `axis` by the first, and come back so where the inputs are a
        multiple of its size. None is gathered before: the parts of equal first indices, n^3, functions at the nodes,
        q n^2, and transposes cross devices.
      axis: mesh axis of the pairs.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown or jumps, a known variance is not positive, there are more than four
        inputs and no key, a size is out of range, or the axis is none of the mesh.

    Cost: q n^4 operations a layer for q nodes and n inputs; some 20,000 n^4 if scale-invariant. Memory: 5 n^4 a layer
    over the mesh, and q n^2, or if scale-invariant 40 n^4 once. Wants float64.

    >>> pair = multi_input_recursion(LayerScales(0.0, 1.0), jnp.eye(2), activation="linear", depth=3)
    >>> pair.vertex[-1, 0, 0, 0, 0].round(3).item()  # 2 (l - 1) K^2
    4.0
    """
    sigma = activation_function(activation)
    require(not jumps(sigma), "activation", sigma.name, "continuous for several inputs")
    require_size("depth", depth)
    require(mesh is None or axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_known("kernel", jnp.diagonal(kernel), lambda v: v > 0, "of positive diagonal")
    k = jnp.asarray(kernel)
    c_b, c_w, l_b, l_w = check_scales(scales, k.dtype, depth)
    widths = check_widths(widths, k.dtype, depth)
    means = _means_of(sigma, len(k), k.dtype, key, degree, samples)
    four = jnp.zeros((len(k),) * 4, k.dtype)
    ntk = l_b[0] + l_w[0] * (k - c_b[0]) / c_w[0]
    first = MultiInputTheory(k, ntk, four, jnp.zeros_like(k), four, four, four, four)

    def layer(state, scales):
        following = _layer(means(state.kernel), state, scales)
        if mesh is not None:
            split = NamedSharding(mesh, P(axis))
            place = lambda tensor: jax.lax.with_sharding_constraint(tensor, split) if tensor.ndim == 4 else tensor
            following = jax.tree.map(place, following)
        return following, following

    later = jax.lax.scan(layer, first, (c_b[1:], c_w[1:], l_b[1:], l_w[1:], widths))[1]
    return jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)


def pair_matrix(tensor: Float[Array, "n n n n"]) -> Float[Array, "p p"]:
    """A tensor of two pairs of inputs as a matrix over the pairs a <= b, in the order 11, 12, ..., 22, ...

    >>> pair_matrix(jnp.ones((2, 2, 2, 2))).shape
    (3, 3)
    """
    a, b = jnp.triu_indices(tensor.shape[0])
    return tensor[a, b][:, a, b]


def _means_of(
    sigma: ActivationFunction, inputs: int, dtype: jnp.dtype, key: Array | None, degree: int | None, samples: int
) -> Callable[[Array], LayerMeans]:
    """A layer's means as a function of its kernel, by the rule that suits the activation."""
    slopes = scale_invariant_slopes(sigma)
    if slopes is not None:
        return lambda kernel: scale_invariant_means(slopes, kernel)
    if sigma.smooth or key is not None:
        nodes, w = joint_rule(inputs, dtype, degree, key, samples)
        return lambda kernel: node_means(sigma, nodes, w, kernel)
    check_inputs(inputs, degree)
    return lambda kernel: node_means(sigma, *kinked_rule(root(kernel), degree), kernel)


def _layer(m: LayerMeans, t: MultiInputTheory, scales) -> MultiInputTheory:
    c_b, c_w, l_b, l_w, width = scales
    x, ntk, v, r, new = c_w * m.slopes, t.ntk, t.vertex, l_w / c_w, c_w**2 / width
    through = lambda tensor: c_w * _derivative(m.two, m.slopes, tensor)
    bent = lambda tensor: c_w * _derivative(m.three, m.bends, tensor)
    turned = lambda tensor: _turned(m.two, m.slopes, tensor)
    last = lambda move: jax.vmap(jax.vmap(move))
    scaled = lambda matrix, tensor: matrix[:, :, None, None] * tensor
    swap = lambda tensor: jnp.transpose(tensor, (2, 3, 0, 1))
    apart = lambda tensor: jnp.transpose(tensor, (0, 2, 1, 3))

    vertex = new * m.value_values + last(through)(through(v))
    crossed = scaled(ntk, new * m.slope_values + last(through)(bent(v))) + scaled(x, last(through)(t.ntk_kernel))
    mixed = scaled(ntk, bent(swap(t.ntk_kernel))) * x[None, None]
    squares = new * (m.slope_slopes + m.slopes[:, :, None, None] * m.slopes[None, None])
    products = new * (m.slope_values + m.slopes[:, :, None, None] * m.values[None, None])
    return MultiInputTheory(
        kernel=c_b + c_w * m.values,
        ntk=l_b + l_w * m.values + x * ntk,
        vertex=vertex,
        kernel_shift=through(t.kernel_shift) + c_w / 2 * _curvature(m, v),
        ntk_kernel=r * vertex + crossed,
        ntk_variance=r**2 * vertex
        + r * (crossed + swap(crossed))
        + scaled(ntk, new * m.slope_slopes + last(bent)(bent(v))) * ntk[None, None]
        + scaled(x, t.ntk_variance) * x[None, None]
        + mixed
        + swap(mixed),
        ntk_off_diagonal=apart(scaled(ntk, squares) * ntk[None, None])
        + x[:, :, None, None] * x[None, None] * t.ntk_off_diagonal,
        ntk_outputs=apart(scaled(ntk, products)) + c_w**2 * last(turned)(turned(t.ntk_outputs)),
    )


def _turned(twice: Array, once: Array, tensor: Array) -> Array:
    """sum_e <d_e (f_a f_b)> tensor_ae of the derivative of f_a alone, from <f'_a f_b> and that of f_b, <f_a f'_b>."""
    return einsum("ab,a...->ab...", twice, einsum("aa...->a...", tensor)) + einsum("ab,ab...->ab...", once, tensor)


def _derivative(twice: Array, once: Array, tensor: Array) -> Array:
    """sum_cd d<f_a f_b> / dK_cd tensor_cd, from <f''_a f_b> and <f'_a f'_b>; the tensor symmetric in the pair."""
    own = einsum("aa...->a...", tensor)
    ends = einsum("ab,a...->ab...", twice, own) + einsum("ba,b...->ab...", twice, own)
    return ends / 2 + einsum("ab,ab...->ab...", once, tensor)


def _curvature(m: LayerMeans, v: Array) -> Array:
    """sum d^2<sigma_a sigma_b> / dK_cd dK_ef V_cdef."""
    own = jnp.einsum("aaaa->a", v)
    lean = jnp.einsum("abaa->ab", v)
    even = 2 * jnp.einsum("aabb->ab", v) + 4 * jnp.einsum("abab->ab", v)
    part = m.four * own[:, None] + 4 * m.three * lean
    return (part + part.T + m.bends * even) / 4
