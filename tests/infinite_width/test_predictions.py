"""Oracles: gradient descent itself, solves, limits in time, one closed form against another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

N, M, O = 6, 4, 2
RELU = iw.activation("relu")
NETWORK = iw.serial(iw.dense(1, bias_std=0.3), RELU, iw.dense(1, bias_std=0.3), RELU, iw.dense(1))


@pytest.fixture
def task(x64):
    keys = jax.random.split(jax.random.key(0), 5)
    x = jax.random.normal(keys[0], (N + M, 3))
    both = iw.network_kernel(NETWORK, x, get="both")
    part = lambda rows, columns: iw.KernelPair(both.nngp[rows][:, columns], both.ntk[rows][:, columns])
    train, test = slice(N), slice(N, None)
    normal = lambda key, *shape: jax.random.normal(key, shape)
    return {
        "dd": part(train, train),
        "td": part(test, train),
        "tt": part(test, test),
        "y": normal(keys[1], N, O),
        "f0": normal(keys[2], N, O),
        "g0": normal(keys[3], M, O),
    }


def descent(task, gradient, rate, steps, momentum=0.0):
    """Descent in function space: every step moves all outputs by the kernel times the gradient."""
    kernels = jnp.concatenate([task["dd"].ntk, task["td"].ntk])
    start = jnp.concatenate([task["f0"], task["g0"]])

    def step(state, _):
        f, v = state
        v = momentum * v - rate * kernels @ gradient(f[:N])
        return (f + v, v), None

    f = jax.jit(lambda: jax.lax.scan(step, (start, jnp.zeros_like(start)), length=steps)[0][0])()
    return f[:N], f[N:]


def test_the_closed_form_is_descent_with_small_steps(task):
    dynamics = iw.mse_dynamics(task["dd"].ntk, task["y"], learning_rate=1e-2)
    train, test = descent(task, lambda f: (f - task["y"]) / (N * O), 1e-2, 4000)
    np.testing.assert_allclose(iw.mse_predict(dynamics, 4000.0, task["f0"]), train, atol=1e-4)
    ours = iw.mse_predict(dynamics, 4000.0, task["f0"], task["td"].ntk, task["g0"])
    np.testing.assert_allclose(ours, test, atol=1e-4)


def test_time_zero_is_the_start_and_infinite_time_is_the_solve(task):
    dynamics = iw.mse_dynamics(task["dd"].ntk, task["y"])
    predict = lambda t, *test: iw.mse_predict(dynamics, t, task["f0"], *test)
    np.testing.assert_allclose(predict(0.0), task["f0"], rtol=1e-12)
    np.testing.assert_allclose(predict(0.0, task["td"].ntk, task["g0"]), task["g0"], rtol=1e-12)
    np.testing.assert_allclose(predict(None), task["y"], rtol=1e-10)
    truth = task["g0"] + task["td"].ntk @ jnp.linalg.solve(task["dd"].ntk, task["y"] - task["f0"])
    np.testing.assert_allclose(predict(None, task["td"].ntk, task["g0"]), truth, rtol=1e-9)
    np.testing.assert_allclose(predict(1e9, task["td"].ntk, task["g0"]), truth, rtol=1e-9)
    at_zero = iw.mse_predict(dynamics, None, jnp.zeros((N, O)), task["td"].ntk)
    posterior = iw.gp_posterior(task["dd"].ntk, task["td"].ntk, task["tt"].ntk, task["y"])
    np.testing.assert_allclose(at_zero, posterior.mean, rtol=1e-9)


def test_a_singular_kernel_trains_what_it_can(x64):
    ones = jnp.ones((2, 2))
    dynamics = iw.mse_dynamics(ones, jnp.array([[1.0], [3.0]]))
    for t in (None, 1e12):
        np.testing.assert_allclose(iw.mse_predict(dynamics, t, jnp.zeros((2, 1))), [[2.0], [2.0]], rtol=1e-12)


def test_the_ensemble_is_the_prior_at_first_and_its_spread_is_that_of_trained_draws(task):
    """Draws of (f_d, f_t) from the prior, trained each by the closed form: their covariance, for 40,000 draws."""
    arguments = task["dd"], task["td"], task["tt"].nngp, task["y"]
    start = iw.ntk_posterior(*arguments, 0.0)
    np.testing.assert_allclose(start.mean, 0, atol=1e-12)
    np.testing.assert_allclose(start.covariance, task["tt"].nngp, rtol=1e-12)
    joint = jnp.block([[task["dd"].nngp, task["td"].nngp.T], [task["td"].nngp, task["tt"].nngp]])
    root = jnp.linalg.cholesky(joint)
    draws = jax.random.normal(jax.random.key(1), (40_000, N + M)) @ root.T
    t, rate = 200.0, 0.3
    dynamics = iw.mse_dynamics(task["dd"].ntk, task["y"][:, :1], learning_rate=rate)
    trained = jax.jit(jax.vmap(lambda f: iw.mse_predict(dynamics, t, f[:N, None], task["td"].ntk, f[N:, None])[:, 0]))(
        draws
    )
    ours = iw.ntk_posterior(*arguments[:3], task["y"][:, :1], t, learning_rate=rate)
    scale = jnp.sqrt(jnp.diagonal(ours.covariance))
    assert jnp.all(jnp.abs(trained.mean(0) - ours.mean[:, 0]) < 4.5 * scale / 200)
    error = jnp.abs(jnp.cov(trained.T) - ours.covariance) / (scale[:, None] * scale[None])
    assert jnp.all(error < 4.5 * 2**0.5 / 200)


def test_infinite_training_of_the_last_layer_alone_is_bayesian(task):
    """With the NNGP kernel for the NTK the ensemble is the exact posterior, of less variance than the prior."""
    nngp = lambda pair: iw.KernelPair(pair.nngp, pair.nngp)
    ensemble = iw.ntk_posterior(nngp(task["dd"]), nngp(task["td"]), task["tt"].nngp, task["y"])
    posterior = iw.gp_posterior(task["dd"].nngp, task["td"].nngp, task["tt"].nngp, task["y"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), ensemble, posterior)
    assert jnp.linalg.eigvalsh(posterior.covariance).min() > -1e-12
    assert jnp.linalg.eigvalsh(task["tt"].nngp - posterior.covariance).min() > -1e-12


def test_the_posterior_of_kernels_split_over_devices_is_that_of_one_device(task, mesh8):
    kernels = task["dd"].ntk, task["td"].ntk, task["tt"].ntk, task["y"]
    one, eight = (iw.gp_posterior(*kernels, ridge=0.1, mesh=mesh) for mesh in (None, mesh8))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), one, eight)


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_flows_on_any_loss_are_descent_with_small_steps(task, momentum):
    labels = jax.nn.softmax(task["y"])
    loss = lambda f: -jnp.sum(labels * jax.nn.log_softmax(f)) / N
    rate, t = 1e-3, 6000
    ours = jax.jit(
        lambda: iw.function_flow(
            loss,
            task["dd"].ntk,
            task["f0"],
            t,
            task["td"].ntk,
            task["g0"],
            learning_rate=rate,
            momentum=momentum,
            steps=600,
        )
    )()
    truth = descent(task, jax.grad(loss), rate, t, momentum or 0.0)
    for a, b in zip(ours, truth, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-3)


def test_the_flow_on_squares_is_the_closed_form(task):
    loss = lambda f: jnp.sum((f - task["y"]) ** 2) / (2 * N * O)
    dynamics = iw.mse_dynamics(task["dd"].ntk, task["y"], learning_rate=0.5)
    ours = iw.function_flow(loss, task["dd"].ntk, task["f0"], 20.0, learning_rate=0.5)
    np.testing.assert_allclose(ours.train, iw.mse_predict(dynamics, 20.0, task["f0"]), rtol=1e-8)
    assert ours.test is None


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_descent_diverges_beyond_the_largest_learning_rate_and_not_below(task, momentum):
    limit = iw.max_learning_rate(task["dd"].ntk, O, momentum=momentum)
    gradient = lambda f: (f - task["y"]) / (N * O)
    size = lambda factor: jnp.max(jnp.abs(descent(task, gradient, factor * limit, 2000, momentum)[0]))
    assert size(0.99) < 10
    assert size(1.01) > 100


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("kernel must be", lambda k, y: iw.mse_dynamics(k[:, :2], y)),
        ("y must be", lambda k, y: iw.mse_dynamics(k, y[:2])),
        ("learning_rate must be", lambda k, y: iw.mse_dynamics(k, y, learning_rate=0.0)),
        ("ridge must be", lambda k, y: iw.mse_dynamics(k, y, ridge=-1.0)),
        ("t must be", lambda k, y: iw.mse_predict(iw.mse_dynamics(k, y), -1.0, y)),
        ("f0 must be", lambda k, y: iw.mse_predict(iw.mse_dynamics(k, y), 1.0, y[:1])),
        ("kernel_test must be", lambda k, y: iw.mse_predict(iw.mse_dynamics(k, y), 1.0, y, k[:, :1])),
        ("kernel_between must be", lambda k, y: iw.gp_posterior(k, k[:2], k, y)),
        ("momentum must be", lambda k, y: iw.function_flow(jnp.sum, k, y, 1.0, momentum=1.0)),
        ("steps must be", lambda k, y: iw.function_flow(jnp.sum, k, y, 1.0, steps=0)),
        ("outputs must be", lambda k, y: iw.max_learning_rate(k, 0)),
    ],
)
def test_bad_arguments_are_named(message, call):
    with pytest.raises(ValueError, match=message):
        call(jnp.eye(3), jnp.ones((3, 1)))
