"""The effective theory's tensors measured on an ensemble of random perceptrons, with standard errors.

Given the layers before the last, its neurons are Gaussian with the metric G = C_b + C_W mean sigma^2, which stands for
z^2 of another neuron and has less noise. All n neurons are read. For i != j, g = G - K and h = H_ii - Theta,

    V = n (E g^2 - (E g)^2),          D = n (E h_i g - E h E g),        A = n (E h_i h_j - (E h)^2),
    B = n E H_ij^2,   F = n E H_ij z_i z_j,   P = n E dH_ijj z_i,   Q = n E dH_iij z_j,   G1 = n E g,   H1 = n E h,

which differ from the theory by the next order in 1 / n. Standard errors are those of the means over networks, with
products of means linearized.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.dntk import dntk_contraction
from jaxlib_methods.infinite_width.criticality.layer_rates import LayerRates, layer_rate_tree
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales
from jaxlib_methods.infinite_width.criticality.single_input import SingleInputTheory, single_input_recursion
from jaxlib_methods.nn.mlp import Dense, mlp_apply
from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_size
from jaxlib_methods.numerics.padding import pad_rows

__all__ = ["EnsembleEstimate", "ensemble_check", "ensemble_init"]


class EnsembleEstimate(NamedTuple):
    """Estimates at the last layer, and their standard errors; None for what was not measured."""

    mean: SingleInputTheory
    error: SingleInputTheory


def ensemble_init(
    key: Key[Array, ""],
    scales: LayerScales,
    *,
    inputs: int,
    width: int | tuple[int, ...],
    depth: int,
    outputs: int,
    dtype: str,
) -> tuple[Dense, ...]:
    """Draws the layers of one perceptron for `mlp_apply`, biases included.

    Args:
      key: typed PRNG key.
      scales: variances; rates play no part.
      inputs: width of the input.
      width: of hidden layers, one number or one for each.
      depth: layers of weights.
      outputs: width of the output.
      dtype: of the parameters.

    Raises:
      ValueError: if a size is below 1, there are not `depth` - 1 widths or a known variance is out of range.

    >>> layers = ensemble_init(
    ...     jax.random.key(0), LayerScales(0.0, 2.0), inputs=3, width=8, depth=2, outputs=1, dtype="float32"
    ... )
    >>> [layer.weight.shape for layer in layers]
    [(3, 8), (8, 1)]
    """
    for name, size in (("inputs", inputs), ("depth", depth), ("outputs", outputs)):
        require_size(name, size)
    hidden = _widths(width, depth - 1, 1)
    c_b, c_w, _, _ = check_scales(scales, jnp.dtype(dtype), depth)
    sizes = (inputs, *hidden, outputs)
    keys = jax.random.split(key, (depth, 2))

    def layer(l):
        i, o = sizes[l : l + 2]
        weight, bias = jax.random.normal(keys[l, 0], (i, o), dtype), jax.random.normal(keys[l, 1], (o,), dtype)
        return Dense(jnp.sqrt(c_w[l] / i) * weight, jnp.sqrt(c_b[l]) * bias)

    return tuple(map(layer, range(depth)))


def ensemble_check(
    key: Key[Array, ""],
    scales: LayerScales,
    kernel: Float[Array, ""],
    *,
    activation: str | ActivationFunction,
    depth: int,
    width: int | tuple[int, ...],
    networks: int,
    tensors: str = "all",
    chunk: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> EnsembleEstimate:
    """Measures the tensors of `single_input_recursion` at the last layer.

    Args:
      key: typed PRNG key; the networks do not depend on the chunk or the mesh.
      scales: variances and rates.
      kernel: K of the first layer, at least C_b.
      activation: as in `activation_function`.
      depth: layers of weights.
      width: n, at least 2; or that of each layer, the last one's being n.
      networks: how many are drawn, at least 2.
      tensors: "all", or "kernel" for K, V and G1 alone, at a small part of the cost.
      chunk: networks at once on a device.
      mesh: devices; networks are split over `axis`, and only sums of numbers cross devices.
      axis: mesh axis of the networks.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if an option is unknown, a size too small, the number of widths not the depth or a known variance
        not positive.

    Cost: for each network 2 n contractions of the NTK's derivative, and one Jacobian of n outputs. Memory: O(chunk n^3
    depth).

    >>> options = dict(activation="tanh", depth=2, width=8, networks=4, tensors="kernel")
    >>> check = ensemble_check(jax.random.key(0), LayerScales(0.0, 1.0), jnp.ones(()), **options)
    >>> bool(check.error.vertex > 0)
    True
    """
    sigma = activation_function(activation)
    require_choice("tensors", tensors, ("all", "kernel"))
    for name, size, least in (("depth", depth, 1), ("networks", networks, 2), ("chunk", chunk, 1)):
        require_size(name, size, least)
    *hidden, n = _widths(width, depth, 2)
    require(mesh is None or axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
    require_array("kernel", kernel, ())
    theory = single_input_recursion(scales, kernel, activation=sigma, depth=depth)
    k, ntk = theory.kernel[-1], theory.ntk[-1]
    c_b, c_w, l_b, l_w = check_scales(scales, k.dtype, depth)
    x = jnp.sqrt(jnp.maximum(kernel - c_b[0], 0) / c_w[0])[None, None]

    def network(key):
        params = ensemble_init(key, scales, inputs=1, width=tuple(hidden), depth=depth, outputs=n, dtype=k.dtype.name)
        g = jnp.zeros_like(k)
        if depth > 1:
            last = sigma.function(mlp_apply(params[:-1], x, activation=sigma.function))
            g = c_b[-1] + c_w[-1] * jnp.mean(last**2) - k
        if tensors == "kernel":
            return {"g": g, "gg": g**2}
        apply = lambda p: mlp_apply(p, x, activation=sigma.function)[0]
        return _all_statistics(apply, params, layer_rate_tree(params, LayerRates(l_b, l_w)), g, ntk)

    run = lambda keys: jax.lax.map(network, keys, batch_size=chunk)
    keys = jax.random.split(key, networks)
    if mesh is None:
        statistics = run(keys)
    else:
        data = pad_rows(jax.random.key_data(keys), mesh.shape[axis])[0]
        local = lambda data: run(jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys)))
        statistics = jax.shard_map(local, mesh=mesh, in_specs=P(axis), out_specs=P(axis))(data)
    count = jax.tree.leaves(statistics)[0].shape[0]
    return _estimate(statistics, jnp.arange(count) < networks, networks, k, ntk, n)


def _widths(width: int | tuple[int, ...], layers: int, least: int) -> tuple[int, ...]:
    widths = width if isinstance(width, tuple) else (width,) * layers
    require(len(widths) == layers, "width", f"{len(widths)} widths", f"a number or a tuple of {layers}")
    for size in widths:
        require_size("width", size, least)
    return widths


def _all_statistics(apply, params, rates, g: Array, ntk: Array) -> dict[str, Array]:
    z, pull = jax.vjp(apply, params)
    n = len(z)
    one = jnp.eye(n, dtype=z.dtype) + 0 * z[None]  # varies over the mesh as z does
    jacobian = jax.tree.leaves(jax.vmap(pull)(one))
    rows = [leaf.reshape(n, -1) for leaf in jacobian]
    matrix = sum(
        jnp.einsum("ip,jp->ij", row, row, precision="highest") * rate
        for row, rate in zip(rows, jax.tree.leaves(rates), strict=True)
    )
    h, apart = jnp.diagonal(matrix) - ntk, n * (n - 1)
    off = matrix - jnp.diag(jnp.diagonal(matrix))
    others = z[None] * (1 - one)
    contract = lambda a, b, c: dntk_contraction(apply, params, rates, a, b, c)
    return {
        "g": g,
        "gg": g**2,
        "h": jnp.mean(h),
        "hg": jnp.mean(h) * g,
        "hh": (jnp.sum(h) ** 2 - jnp.sum(h**2)) / apart,
        "b": jnp.sum(off**2) / apart,
        "f": z @ off @ z / apart,
        "p": jnp.sum(jax.vmap(contract)(others, one, one)) / apart,
        "q": jnp.sum(jax.vmap(contract)(one, one, others)) / apart,
    }


def _estimate(s: dict[str, Array], real: Array, networks: int, k: Array, ntk: Array, n: int) -> EnsembleEstimate:
    average = lambda a: jnp.sum(jnp.where(real, a, 0)) / networks

    def plain(a: Array, scale: int = n, shift: ArrayLike = 0.0) -> tuple[Array, Array]:
        m = average(a)
        return scale * m + shift, scale * jnp.sqrt(average((a - m) ** 2) / (networks - 1))

    def connected(ab, a, b):
        """n (E ab - E a E b)."""
        ma, mb = average(a), average(b)
        value, error = plain(ab - ma * b - mb * a)
        return value + n * ma * mb, error

    found = {
        "kernel": plain(s["g"], 1, k),
        "kernel_shift": plain(s["g"]),
        "vertex": connected(s["gg"], s["g"], s["g"]),
    }
    if "h" in s:
        found |= {
            "ntk": plain(s["h"], 1, ntk),
            "ntk_shift": plain(s["h"]),
            "ntk_kernel": connected(s["hg"], s["h"], s["g"]),
            "ntk_variance": connected(s["hh"], s["h"], s["h"]),
            "ntk_off_diagonal": plain(s["b"]),
            "ntk_outputs": plain(s["f"]),
            "dntk_p": plain(s["p"]),
            "dntk_q": plain(s["q"]),
        }
    pick = lambda i: SingleInputTheory(*(found[f][i] if f in found else None for f in SingleInputTheory._fields))
    return EnsembleEstimate(pick(0), pick(1))
