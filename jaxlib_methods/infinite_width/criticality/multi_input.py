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
from jaxtyping import Array, Float, Key

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.joint_nodes import joint_rule, root
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales
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
    *,
    activation: str | ActivationFunction,
    depth: int,
    degree: int | None = None,
    samples: int = 2**15,
) -> MultiInputTheory:
    """All tensors of several inputs at every layer, for smooth activations.

    Args:
      scales: variances and rates.
      kernel: K of the first layer, C_b + C_W x_a.x_b / inputs; positive semidefinite.
      key: for more than four inputs, or on demand: expectations are then over random nodes.
      activation: as in `activation_function`; smooth, as derivatives up to the fourth are needed.
      depth: layers, the first included.
      degree: nodes for each input, 2 to 500; 100, 64, 32 and 20 for one to four inputs if None.
      samples: random nodes.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown or has a kink, a known variance is not positive, there are more than four
        inputs and no key, or a size is out of range.

    Cost: q n^4 operations a layer for q nodes and n inputs, and n^6. Memory: 5 n^4 a layer and q n^2. Wants float64.

    >>> pair = multi_input_recursion(LayerScales(0.0, 1.0), jnp.eye(2), activation="linear", depth=3)
    >>> pair.vertex[-1, 0, 0, 0, 0].round(3).item()  # 2 (l - 1) K^2
    4.0
    """
    sigma = activation_function(activation)
    require(sigma.smooth, "activation", sigma.name, "smooth for several inputs")
    require_size("depth", depth)
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_known("kernel", jnp.diagonal(kernel), lambda v: v > 0, "of positive diagonal")
    k = jnp.asarray(kernel)
    c_b, c_w, l_b, l_w = check_scales(scales, k.dtype, depth)
    rule = joint_rule(len(k), k.dtype, degree, key, samples)
    four = jnp.zeros((len(k),) * 4, k.dtype)
    ntk = l_b[0] + l_w[0] * (k - c_b[0]) / c_w[0]
    first = MultiInputTheory(k, ntk, four, jnp.zeros_like(k), four, four, four, four)

    def layer(state, scales):
        following = _layer(sigma, rule, state, scales)
        return following, following

    later = jax.lax.scan(layer, first, (c_b[1:], c_w[1:], l_b[1:], l_w[1:]))[1]
    return jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)


def pair_matrix(tensor: Float[Array, "n n n n"]) -> Float[Array, "p p"]:
    """A tensor of two pairs of inputs as a matrix over the pairs a <= b, in the order 11, 12, ..., 22, ...

    >>> pair_matrix(jnp.ones((2, 2, 2, 2))).shape
    (3, 3)
    """
    a, b = jnp.triu_indices(tensor.shape[0])
    return tensor[a, b][:, a, b]


def _layer(sigma: ActivationFunction, rule: tuple[Array, Array], t: MultiInputTheory, scales) -> MultiInputTheory:
    c_b, c_w, l_b, l_w = scales
    nodes, w = rule
    ein = lambda formula, *arrays: jnp.einsum(formula, *arrays, precision="highest")
    s = sigma.derivatives(ein("qi,ai->qa", nodes, root(t.kernel)), 4)
    mean = lambda i, j: ein("q,qa,qb->ab", w, s[i], s[j])
    pairs = lambda i, j: s[i][:, :, None] * s[j][:, None, :]
    value, slopes = pairs(0, 0), pairs(1, 1)
    g, x = mean(0, 0), c_w * mean(1, 1)
    joint = lambda f, h: ein("q,qab,qcd->abcd", w, f, h)
    ntk, v, r = t.ntk, t.vertex, l_w / c_w

    through = c_w * _derivative(mean(2, 0), mean(1, 1))
    bent = c_w * _derivative(mean(3, 1), mean(2, 2))
    along = lambda left, tensor, right: ein("abef,efgh,cdgh->abcd", left, tensor, right)
    deviation, slope_deviation = value - g[None], slopes - mean(1, 1)[None]
    vertex = c_w**2 * joint(deviation, deviation) + along(through, v, through)
    scaled = lambda tensor: x[:, :, None, None] * tensor
    ntk_scaled = lambda tensor: ntk[:, :, None, None] * tensor
    crossed = ntk_scaled(c_w**2 * joint(slope_deviation, deviation) + along(bent, v, through)) + scaled(
        ein("abef,cdef->abcd", t.ntk_kernel, through)
    )
    from_kernel = ein("abef,cdef->abcd", bent, t.ntk_kernel)  # J^p D^T
    swap = lambda tensor: jnp.transpose(tensor, (2, 3, 0, 1))
    mixed = ntk_scaled(from_kernel) * x[None, None]
    return MultiInputTheory(
        kernel=c_b + c_w * g,
        ntk=l_b + l_w * g + x * ntk,
        vertex=vertex,
        kernel_shift=ein("abcd,cd->ab", through, t.kernel_shift) + c_w / 2 * _curvature(mean, v),
        ntk_kernel=r * vertex + crossed,
        ntk_variance=r**2 * vertex
        + r * (crossed + swap(crossed))
        + ntk_scaled(c_w**2 * joint(slope_deviation, slope_deviation) + along(bent, v, bent)) * ntk[None, None]
        + scaled(t.ntk_variance) * x[None, None]
        + mixed
        + swap(mixed),
        ntk_off_diagonal=c_w**2 * ein("q,qa,qb,qc,qd,ab,cd->acbd", w, s[1], s[1], s[1], s[1], ntk, ntk)
        + ein("ac,bd,acbd->acbd", x, x, t.ntk_off_diagonal),
        ntk_outputs=_outputs(ein, c_w, w, s, mean, ntk, t.ntk_outputs),
    )


def _derivative(twice: Array, once: Array) -> Array:
    """d<f_a f_b> / dK_cd, every ordered pair cd on its own, from <f''_a f_b> and <f'_a f'_b>."""
    one = jnp.eye(len(twice), dtype=twice.dtype)
    first = jnp.einsum("ab,ac,ad->abcd", twice, one, one)
    crossed = jnp.einsum("ab,ac,bd->abcd", once, one, one)
    return (first + first.transpose(1, 0, 2, 3) + crossed + crossed.transpose(0, 1, 3, 2)) / 2


def _curvature(mean, v: Array) -> Array:
    """sum d^2<sigma_a sigma_b> / dK_cd dK_ef V_cdef."""
    four, three = mean(4, 0), mean(3, 1)
    own = jnp.einsum("aaaa->a", v)
    lean = jnp.einsum("abaa->ab", v)
    even = 2 * jnp.einsum("aabb->ab", v) + 4 * jnp.einsum("abab->ab", v)
    part = four * own[:, None] + 4 * three * lean
    return (part + part.T + mean(2, 2) * even) / 4


def _outputs(ein, c_w, w, s, mean, ntk, outputs):
    """F'."""
    one = jnp.eye(len(ntk), dtype=ntk.dtype)
    source = ein("q,qa,qc,qb,qd,ab->acbd", w, s[1], s[0], s[1], s[0], ntk)
    moved = ein("ac,ae->ace", mean(2, 0), one) + ein("ac,ce->ace", mean(1, 1), one)
    return c_w**2 * (source + ein("ace,bdf,aebf->acbd", moved, moved, outputs))
