"""The minimal model of representation learning, against training it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

pytestmark = pytest.mark.usefixtures("x64")

TRAIN, INPUTS, FEATURES = 3, 5, 7
ein = functools.partial(jnp.einsum, precision="highest")


def model():
    """Features, meta features and targets."""
    one, two, three = jax.random.split(jax.random.key(0), 3)
    psi = jax.random.normal(two, (INPUTS, FEATURES, FEATURES))
    return jax.random.normal(one, (INPUTS, FEATURES)), psi + psi.mT, jax.random.normal(three, (TRAIN,))


def kernels(phi, psi):
    return ein("ap,bp->ab", phi, phi), ein("apq,bp,cq->abc", psi, phi, phi)


def test_the_fit_is_the_derivative_of_trained_models():
    """Gradient flow by 6000 Runge-Kutta steps, differentiated in epsilon at 0."""
    phi, psi, y = model()

    def trained(epsilon):
        loss = lambda theta: jnp.sum((iw.minimal_model_apply(theta, phi, psi, epsilon)[:TRAIN] - y) ** 2) / 2
        slope, h = lambda theta: -jax.grad(loss)(theta), 0.0125

        def step(_, theta):
            a = slope(theta)
            b = slope(theta + h / 2 * a)
            c = slope(theta + h / 2 * b)
            return theta + h / 6 * (a + 2 * b + 2 * c + slope(theta + h * c))

        theta = jax.lax.fori_loop(0, 6000, step, jnp.zeros(FEATURES))
        learned = phi + epsilon * psi @ theta
        return iw.minimal_model_apply(theta, phi, psi, epsilon), learned @ learned.T

    (mean, _), (correction, change) = jax.jit(lambda e: jax.jvp(trained, (e,), (1.0,)))(0.0)
    fit = iw.minimal_model_fit(*kernels(phi, psi), y)
    np.testing.assert_allclose(fit.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(fit.mean_correction, correction, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fit.kernel_change, change, rtol=1e-5, atol=1e-5)


def test_the_meta_kernel_is_the_derivative_of_the_ntk():
    phi, psi, _ = model()
    one = jnp.eye(INPUTS)
    apply = lambda theta: iw.minimal_model_apply(theta, phi, psi, jnp.ones(()))
    contract = lambda a, b, c: iw.dntk_contraction(apply, jnp.zeros(FEATURES), 1.0, a, b, c)
    entries = [(0, 1, 2), (3, 3, 0), (4, 2, 2)]
    found = [contract(*(one[i] for i in entry)) for entry in entries]
    np.testing.assert_allclose(found, [kernels(phi, psi)[1][entry] for entry in entries], rtol=1e-10)


def test_bad_shapes_are_named():
    phi, psi, y = model()
    kernel, meta = kernels(phi, psi)
    for call, message in (
        (lambda: iw.minimal_model_apply(y, phi, psi, 1.0), "phi"),
        (lambda: iw.minimal_model_fit(kernel, meta[0], y), "meta_kernel"),
        (lambda: iw.minimal_model_fit(kernel, meta, jnp.ones(6)), "targets"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
