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
d/dK_aa = <d_a^2> / 2: no root is differentiated, and coinciding inputs are no exception.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapters 4 and 8; the forms here are derived.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.joint_nodes import joint_rule, root
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales, check_widths
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
    """All tensors of several inputs at every layer, for smooth activations.

    Args:
      scales: variances and rates.
      kernel: K of the first layer, C_b + C_W x_a.x_b / inputs; positive semidefinite.
      key: for more than four inputs, or on demand: expectations are then over random nodes.
      widths: as in `single_input_recursion`.
      activation: as in `activation_function`; smooth, as derivatives up to the fourth are needed.
      depth: layers, the first included.
      degree: nodes for each input, 2 to 500; 100, 64, 32 and 20 for one to four inputs if None.
      samples: random nodes.
      mesh: devices; tensors of four indices are split over `axis` by the first, and come back so where the inputs are a
        multiple of its size. None is gathered before: the parts of equal first indices, n^3, functions at the nodes,
        q n^2, and transposes cross devices.
      axis: mesh axis of the pairs.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown or has a kink, a known variance is not positive, there are more than four
        inputs and no key, a size is out of range, or the axis is none of the mesh.

    Cost: q n^4 operations a layer for q nodes and n inputs. Memory: 5 n^4 a layer, over the mesh, and q n^2. Wants
    float64.

    >>> pair = multi_input_recursion(LayerScales(0.0, 1.0), jnp.eye(2), activation="linear", depth=3)
    >>> pair.vertex[-1, 0, 0, 0, 0].round(3).item()  # 2 (l - 1) K^2
    4.0
    """
    sigma = activation_function(activation)
    require(sigma.smooth, "activation", sigma.name, "smooth for several inputs")
    require_size("depth", depth)
    require(mesh is None or axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_known("kernel", jnp.diagonal(kernel), lambda v: v > 0, "of positive diagonal")
    k = jnp.asarray(kernel)
    c_b, c_w, l_b, l_w = check_scales(scales, k.dtype, depth)
    widths = check_widths(widths, k.dtype, depth)
    rule = joint_rule(len(k), k.dtype, degree, key, samples)
    four = jnp.zeros((len(k),) * 4, k.dtype)
    ntk = l_b[0] + l_w[0] * (k - c_b[0]) / c_w[0]
    first = MultiInputTheory(k, ntk, four, jnp.zeros_like(k), four, four, four, four)

    def layer(state, scales):
        following = _layer(sigma, rule, state, scales)
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


def _layer(sigma: ActivationFunction, rule: tuple[Array, Array], t: MultiInputTheory, scales) -> MultiInputTheory:
    c_b, c_w, l_b, l_w, width = scales
    nodes, w = rule
    s = sigma.derivatives(_ein("qi,ai->qa", nodes, root(t.kernel)), 4)
    mean = lambda i, j: _ein("q,qa,qb->ab", w, s[i], s[j])
    pairs = lambda i, j: s[i][:, :, None] * s[j][:, None, :]
    g, slopes = mean(0, 0), mean(1, 1)
    x, ntk, v, r, new = c_w * slopes, t.ntk, t.vertex, l_w / c_w, c_w**2 / width
    joint = lambda f, h: _ein("q,qab,qcd->abcd", w, f, h)
    deviation, slope_deviation = pairs(0, 0) - g[None], pairs(1, 1) - slopes[None]
    through = lambda tensor: c_w * _derivative(mean(2, 0), slopes, tensor)
    bent = lambda tensor: c_w * _derivative(mean(3, 1), mean(2, 2), tensor)
    last = lambda move: jax.vmap(jax.vmap(move))
    scaled = lambda matrix, tensor: matrix[:, :, None, None] * tensor
    swap = lambda tensor: jnp.transpose(tensor, (2, 3, 0, 1))

    vertex = new * joint(deviation, deviation) + last(through)(through(v))
    crossed = scaled(ntk, new * joint(slope_deviation, deviation) + last(through)(bent(v)))
    crossed += scaled(x, last(through)(t.ntk_kernel))
    mixed = scaled(ntk, bent(swap(t.ntk_kernel))) * x[None, None]
    turned = lambda tensor: _turned(mean(2, 0), slopes, tensor)
    return MultiInputTheory(
        kernel=c_b + c_w * g,
        ntk=l_b + l_w * g + x * ntk,
        vertex=vertex,
        kernel_shift=through(t.kernel_shift) + c_w / 2 * _curvature(mean, v),
        ntk_kernel=r * vertex + crossed,
        ntk_variance=r**2 * vertex
        + r * (crossed + swap(crossed))
        + scaled(ntk, new * joint(slope_deviation, slope_deviation) + last(bent)(bent(v))) * ntk[None, None]
        + scaled(x, t.ntk_variance) * x[None, None]
        + mixed
        + swap(mixed),
        ntk_off_diagonal=new * _ein("q,qa,qb,qc,qd,ab,cd->acbd", w, s[1], s[1], s[1], s[1], ntk, ntk)
        + _ein("ac,bd,acbd->acbd", x, x, t.ntk_off_diagonal),
        ntk_outputs=new * _ein("q,qa,qc,qb,qd,ab->acbd", w, s[1], s[0], s[1], s[0], ntk)
        + c_w**2 * last(turned)(turned(t.ntk_outputs)),
    )


def _ein(formula: str, *arrays: Array) -> Array:
    return jnp.einsum(formula, *arrays, precision="highest")


def _turned(twice: Array, once: Array, tensor: Array) -> Array:
    """sum_e <d_e (f_a f_b)> tensor_ae of the derivative of f_a alone, from <f'_a f_b> and that of f_b, <f_a f'_b>."""
    return _ein("ab,a...->ab...", twice, _ein("aa...->a...", tensor)) + _ein("ab,ab...->ab...", once, tensor)


def _derivative(twice: Array, once: Array, tensor: Array) -> Array:
    """sum_cd d<f_a f_b> / dK_cd tensor_cd, from <f''_a f_b> and <f'_a f'_b>; the tensor symmetric in the pair."""
    own = _ein("aa...->a...", tensor)
    ends = _ein("ab,a...->ab...", twice, own) + _ein("ba,b...->ab...", twice, own)
    return ends / 2 + _ein("ab,ab...->ab...", once, tensor)


def _curvature(mean, v: Array) -> Array:
    """sum d^2<sigma_a sigma_b> / dK_cd dK_ef V_cdef."""
    four, three = mean(4, 0), mean(3, 1)
    own = jnp.einsum("aaaa->a", v)
    lean = jnp.einsum("abaa->ab", v)
    even = 2 * jnp.einsum("aabb->ab", v) + 4 * jnp.einsum("abab->ab", v)
    part = four * own[:, None] + 4 * three * lean
    return (part + part.T + mean(2, 2) * even) / 4
