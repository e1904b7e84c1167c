"""The recursions of `jaxlib_methods.infinite_width` beside a plain numpy loop and beside the networks themselves.

    python -m experiments bench effective_theory    # about a minute on two cores

Both sides of the first case make all eleven tensors of one input at every layer, by the same rule of 360 nodes; the
numpy loop writes the recursion out with derivatives of tanh by hand. The second case is what the recursion spares:
the vertex from an ensemble of 1,000 random networks of width 64, which has an error of five percent.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.bench_case import Case
from jaxlib_methods.infinite_width import (
    LayerScales,
    ensemble_check,
    multi_input_recursion,
    single_input_recursion,
)

SCALES = LayerScales(0.1, 1.5, 0.7, 0.9)


def cases() -> Iterator[Case]:
    """One input, growth with depth; against networks; several inputs."""
    depths = [{"depth": depth} for depth in (64, 256, 1024)]
    yield Case("eleven tensors of one input", against_numpy, depths, peer="numpy, a loop over layers", theory=1.0)
    yield Case("vertex of one input", against_networks, [{"depth": 16}], peer="1,000 random networks of width 64")
    yield Case("tensors of two inputs", two_inputs, [{"depth": depth} for depth in (8, 32, 128)], theory=1.0)


def in_double(function):
    """The function, compiled and run in double precision."""
    compiled = jax.jit(function)

    def call(*arguments):
        with jax.enable_x64(True):
            return compiled(*arguments)

    return call


def against_numpy(depth: int):
    """All tensors."""
    ours = in_double(lambda k: single_input_recursion(SCALES, k, activation="tanh", depth=depth))
    return lambda: ours(np.float64(1.2)), lambda: numpy_recursion(depth)


def against_networks(depth: int):
    """V alone."""
    ours = in_double(lambda k: single_input_recursion(SCALES, k, activation="tanh", depth=depth))
    options = dict(activation="tanh", depth=depth, width=64, networks=1000, tensors="kernel", chunk=100)
    networks = jax.jit(lambda key: ensemble_check(key, SCALES, jnp.float32(1.2), **options))
    return lambda: ours(np.float64(1.2)), lambda: networks(jax.random.key(0))


def two_inputs(depth: int):
    """All tensors of the pair."""
    pair = np.array([[1.2, 0.5], [0.5, 0.9]])
    ours = in_double(lambda k: multi_input_recursion(SCALES, k, activation="tanh", depth=depth))
    return lambda: ours(pair), None


def numpy_recursion(depth: int) -> tuple[float, ...]:
    """The recursion of one input for tanh, written out."""
    from jaxlib_methods.infinite_width.criticality.half_line_rule import _rule

    u, w = _rule()
    c_b, c_w, l_b, l_w = map(float, SCALES)
    r, k = l_w / c_w, 1.2
    ntk, v, g1, h1, d, f, a, b, p, q = (l_b + l_w * (k - c_b) / c_w, *[0.0] * 9)
    for _ in range(depth - 1):
        s = np.tanh(np.sqrt(k) * u)
        s1 = 1 - s**2
        s2 = -2 * s * s1
        second, third = u**2 - 1, u**4 - 6 * u**2 + 3
        square, slopes = w @ s**2, w @ s1**2
        c, x = c_w * (w @ (u * s * s1)) / np.sqrt(k), c_w * slopes
        h, x2 = c_w * (w @ (s1**2 * second)) / (4 * k), c_w * (w @ (s1**2 * third)) / (4 * k**2)
        g2 = c_w * (w @ (s**2 * third)) / (4 * k**2)
        both, bend = c_w**2 * (w @ (s * s1) ** 2), c_w**2 * (w @ (s * s2 * s1**2)) * ntk**2
        v1 = c**2 * v + c_w**2 * (w @ (s**2 - square) ** 2)
        shift = c * g1 + g2 * v / 2
        crossed = (both - c_w**2 * square * slopes) * ntk + 2 * h * c * ntk * v + x * c * d
        f1 = both * ntk + c**2 * f
        h1 = r * shift + x * h1 + 2 * h * (ntk * g1 + d + 2 * f) + x2 * ntk * v / 2
        spread = c_w**2 * (w @ (s1**2 - slopes) ** 2) * ntk**2
        a = r**2 * v1 + 2 * r * crossed + spread + x**2 * a + 4 * h * x * ntk * d + 4 * h**2 * ntk**2 * v
        p = bend + c_w * x * (w @ (s * s2)) * b + c * x * p
        q = r * f1 + bend + 2 * h * c * ntk * f + c * x * q
        b = c_w**2 * (w @ s1**4) * ntk**2 + x**2 * b
        d, f, v, g1 = r * v1 + crossed, f1, v1, shift
        k, ntk = c_b + c_w * square, l_b + l_w * square + x * ntk
    return k, ntk, v, g1, h1, d, f, a, b, p, q
