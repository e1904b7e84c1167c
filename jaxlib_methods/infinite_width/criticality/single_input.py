"""What depth makes of one input, to order 1 / width: kernel, NTK, their means, fluctuations, and the NTK's change.

Layers z^(l+1) = b + W sigma(z^l), biases of variance C_b, weights of C_W / fan-in, n neurons in a layer. Given a layer,
the next is Gaussian with a random metric G, and over networks, for neurons i != j,

    E G = K + G1 / n,                 Cov(G, G) = V / n,
    E H_ii = Theta + H1 / n,          Cov(H_ii, H_jj) = A / n,      E H_ij^2 = B / n,
    Cov(H_ii, z_j^2) = D / n,         E H_ij z_i z_j = F / n,
    E dH_ijj z_i = P / n,             E dH_iij z_j = Q / n,

with H the NTK and dH_ijk = sum lambda lambda z_i'' z_j' z_k', by which the NTK moves in a step of descent. With <.>
over N(0, K), c = C_W <sigma sigma' z> / K, X = C_W <sigma'^2>, h = X' / 2 and r = lambda_W / C_W,

    K'  = C_b + C_W <sigma^2>                      Theta' = lambda_b + lambda_W <sigma^2> + X Theta
    V'  = c^2 V + C_W^2 (<sigma^4> - <sigma^2>^2)
    G1' = c G1 + C_W <sigma^2>'' V / 2
    D'  = r V' + C_W^2 Theta (<sigma^2 sigma'^2> - <sigma^2> <sigma'^2>) + 2 h c Theta V + X c D
    F'  = C_W^2 <sigma^2 sigma'^2> Theta + c^2 F
    B'  = C_W^2 <sigma'^4> Theta^2 + X^2 B
    A'  = r^2 V' + 2 r (D' - r V') + C_W^2 (<sigma'^4> - <sigma'^2>^2) Theta^2 + X^2 A + 4 h X Theta D + 4 h^2 Theta^2 V
    H1' = r G1' + X H1 + 2 h (Theta G1 + D + 2 F) + X'' Theta V / 2
    P'  = C_W^2 <sigma sigma'' sigma'^2> Theta^2 + C_W X <sigma sigma''> B + c X P
    Q'  = r F' + C_W^2 <sigma sigma'' sigma'^2> Theta^2 + 2 h c Theta F + c X Q.

In a layer of a n neurons in place of n, what the layer adds itself, all terms in C_W^2, is divided by a.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapters 4, 8 and 11; the forms here are derived.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.half_line_rule import half_line_rule
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales, check_widths
from jaxlib_methods.numerics.checks import require_array, require_positive, require_size

__all__ = ["SingleInputTheory", "single_input_recursion"]


class SingleInputTheory(NamedTuple):
    """Arrays with one entry for each layer, the first included; all but `kernel` and `ntk` in units of 1 / width.

    Attributes:
      kernel: K.
      ntk: Theta.
      vertex: V, n times the variance of the metric.
      kernel_shift: G1, n times the shift of its mean.
      ntk_shift: H1, the same of the NTK.
      ntk_kernel: D, n Cov(H_ii, z_j^2).
      ntk_outputs: F, n E H_ij z_i z_j.
      ntk_variance: A, n Cov(H_ii, H_jj).
      ntk_off_diagonal: B, n E H_ij^2.
      dntk_p: P, n E dH_ijj z_i.
      dntk_q: Q, n E dH_iij z_j.
    """

    kernel: Any
    ntk: Any
    vertex: Any
    kernel_shift: Any
    ntk_shift: Any
    ntk_kernel: Any
    ntk_outputs: Any
    ntk_variance: Any
    ntk_off_diagonal: Any
    dntk_p: Any
    dntk_q: Any


def single_input_recursion(
    scales: LayerScales,
    kernel: Float[Array, ""],
    widths: Float[ArrayLike, "*l"] = 1.0,
    *,
    activation: str | ActivationFunction,
    depth: int,
) -> SingleInputTheory:
    """All tensors of one input at every layer.

    Args:
      scales: variances and rates.
      kernel: K of the first layer, C_b + C_W x.x / inputs, positive.
      widths: of the hidden layers, over the n in whose inverse the tensors count; a number, or one for each layer but
        the last.
      activation: as in `activation_function`.
      depth: layers, the first included.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown, a known variance is not positive, or the depth is below 1.

    Cost: 360 evaluations of sigma and two derivatives a layer. Small kernels and cumulants want float64: in float32
    the corrections lose digits as 1 / K.

    >>> relu = single_input_recursion(LayerScales(0.0, 2.0), jnp.ones(()), activation="relu", depth=5)
    >>> relu.vertex.round().tolist()  # V = 5 (l - 1) K^2
    [0.0, 5.0, 10.0, 15.0, 20.0]
    """
    sigma = activation_function(activation)
    require_size("depth", depth)
    require_array("kernel", kernel, ())
    require_positive("kernel", kernel)
    k = jnp.asarray(kernel)
    c_b, c_w, l_b, l_w = check_scales(scales, k.dtype, depth)
    widths = check_widths(widths, k.dtype, depth)
    zero = jnp.zeros((), k.dtype)
    ntk = l_b[0] + l_w[0] * (k - c_b[0]) / c_w[0]
    first = SingleInputTheory(k, ntk, *[zero] * 9)

    def layer(state, scales):
        following = _layer(sigma, state, scales)
        return following, following

    later = jax.lax.scan(layer, first, (c_b[1:], c_w[1:], l_b[1:], l_w[1:], widths))[1]
    return jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)


def _layer(sigma: ActivationFunction, t: SingleInputTheory, scales: tuple[Array, ...]) -> SingleInputTheory:
    c_b, c_w, l_b, l_w, width = scales
    k, ntk, v = t.kernel, t.ntk, t.vertex
    u, w = half_line_rule(k.dtype)
    s, s1, s2 = sigma.derivatives(jnp.sqrt(k) * u, 2)
    mean = lambda values: jnp.sum(w * values)
    second, third = u**2 - 1, u**4 - 6 * u**2 + 3
    square, slopes = mean(s**2), mean(s1**2)
    c, x = c_w * mean(u * s * s1) / jnp.sqrt(k), c_w * slopes
    h, x2, g2 = (
        c_w * mean(s1**2 * second) / (4 * k),
        c_w * mean(s1**2 * third) / (4 * k**2),
        c_w * mean(s**2 * third) / (4 * k**2),
    )
    new = c_w**2 / width
    both, bend = new * mean((s * s1) ** 2), new * mean(s * s2 * s1**2) * ntk**2
    r = l_w / c_w
    vertex = c**2 * v + new * mean((s**2 - square) ** 2)
    kernel_shift = c * t.kernel_shift + g2 * v / 2
    crossed = (both - new * square * slopes) * ntk + 2 * h * c * ntk * v + x * c * t.ntk_kernel
    ntk_outputs = both * ntk + c**2 * t.ntk_outputs
    return SingleInputTheory(
        kernel=c_b + c_w * square,
        ntk=l_b + l_w * square + x * ntk,
        vertex=vertex,
        kernel_shift=kernel_shift,
        ntk_shift=r * kernel_shift
        + x * t.ntk_shift
        + 2 * h * (ntk * t.kernel_shift + t.ntk_kernel + 2 * t.ntk_outputs)
        + x2 * ntk * v / 2,
        ntk_kernel=r * vertex + crossed,
        ntk_outputs=ntk_outputs,
        ntk_variance=r**2 * vertex
        + 2 * r * crossed
        + new * mean((s1**2 - slopes) ** 2) * ntk**2
        + x**2 * t.ntk_variance
        + 4 * h * x * ntk * t.ntk_kernel
        + 4 * h**2 * ntk**2 * v,
        ntk_off_diagonal=new * mean(s1**4) * ntk**2 + x**2 * t.ntk_off_diagonal,
        dntk_p=bend + c_w * x * mean(s * s2) * t.ntk_off_diagonal + c * x * t.dntk_p,
        dntk_q=r * ntk_outputs + bend + 2 * h * c * ntk * t.ntk_outputs + c * x * t.dntk_q,
    )
