"""Residual perceptrons' metric beside ensembles of random networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods import infinite_width as iw

BIAS, WEIGHT, KERNEL, SKIP, DEPTH = 0.1, 0.9, 1.2, 0.95, 4


@functools.partial(jax.jit, static_argnames=("sigma", "width"))
def metrics(key, *, sigma, width):
    """C_b + C_W mean sigma^2 of the layer before the last, for 10,000 networks."""

    def network(key):
        z = KERNEL**0.5 * jax.random.normal(key, (width,))
        for l in range(1, DEPTH - 1):
            one, two = jax.random.split(jax.random.fold_in(key, l))
            weight = (WEIGHT / width) ** 0.5 * jax.random.normal(one, (width, width))
            z = SKIP * z + weight @ sigma(z) + BIAS**0.5 * jax.random.normal(two, (width,))
        return BIAS + WEIGHT * jnp.mean(sigma(z) ** 2)

    return jax.lax.map(network, jax.random.split(key, 10_000), batch_size=500)


def test_ensembles_have_the_metric_within_five_standard_errors():
    """Widths 16 and 32, extrapolated. V is quadratic in the last C_W; half its second difference is the metric's."""
    sigma = iw.activation_function("gelu")
    with jax.enable_x64(True):
        theory = [
            iw.residual_recursion(
                iw.LayerScales(BIAS, WEIGHT * jnp.array([1.0, 1.0, 1.0, last])),
                jnp.array(KERNEL),
                SKIP,
                activation=sigma,
                depth=DEPTH,
            )
            for last in (1e-9, 1.0, 2.0)
        ]
        none, one, two = (float(t.vertex[-1]) for t in theory)
        kernel, shift = (np.asarray(t[-1] - SKIP**2 * t[-2]) for t in (theory[1].kernel, theory[1].kernel_shift))
    truth = np.array([(two - 2 * one + none) / 2, shift])
    found = []
    for n in (16, 32):
        gap = np.asarray(metrics(jax.random.key(n), sigma=sigma.function, width=n), float) - kernel
        values = n * np.stack([(gap - gap.mean()) ** 2, gap])
        found.append((values.mean(1), values.std(1) / 100))
    (narrow, other), (wide, error) = found
    deviation = np.hypot(2 * error, other)
    assert (np.abs(2 * wide - narrow - truth) < 5 * deviation).all()
