"""The particle limit on inputs that it was not trained on, against steps of rate 0, networks and exact limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

ETA = 0.3
rng = np.random.default_rng(2)
X, Y, NEW = 0.6 * rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2)), rng.normal(size=(5, 2))


@functools.partial(jax.jit, static_argnames=("particles", "depth", "activation"))
def trained(key, particles, depth, activation=jnp.tanh, eta=ETA):
    dtype = jnp.result_type(float).name
    state = iw.particle_limit_init(key, particles=particles, inputs=2, outputs=2, depth=depth, capacity=17, dtype=dtype)
    x, y = jnp.asarray(X, dtype), jnp.asarray(Y, dtype)
    return iw.particle_limit_train(state, x, y, jnp.subtract, eta, activation=activation)[0]


@functools.partial(jax.jit, static_argnames=("activation", "mesh"))
def apply(state, x, activation=jnp.tanh, mesh=None):
    return iw.particle_limit_apply(state, x, activation=activation, mesh=mesh)


def assert_means_agree(first, second, bias=1e-6):
    """Means of independent draws within 5 standard errors and a bias."""
    first, second = np.asarray(first), np.asarray(second)
    error = np.sqrt(sum(draws.var(0, ddof=min(1, len(draws) - 1)) / len(draws) for draws in (first, second)))
    gap = np.abs(first.mean(0) - second.mean(0))
    assert (gap < 5 * error + bias).all()


@jax.jit
def rest(state, x):
    """A step of rate 0."""
    return iw.particle_limit_step(state, x, jnp.zeros_like, 0.0, activation=jnp.tanh)


def many(function, state, seed, count):
    """With other keys of the state, hence with other noise for what is new in the inputs."""
    run = jax.vmap(lambda key: function(state._replace(key=key), NEW))
    return jax.jit(run)(jax.random.split(jax.random.key(seed), count))


@pytest.mark.parametrize("depth", [1, 3])
def test_outputs_are_those_of_a_step_of_rate_zero(depth, x64):
    """Exactly for a row alone and for rows met; within errors for rows together, that condition on one another."""
    state = trained(jax.random.key(0), 500, depth)
    alone = jax.jit(jax.vmap(lambda row: rest(state, row[None])[1][0]))(NEW)
    np.testing.assert_allclose(apply(state, NEW), alone, rtol=1e-8, atol=1e-10)
    met, f = rest(state, NEW)
    np.testing.assert_allclose(apply(met, NEW), f, atol=1e-4)
    assert_means_agree(many(rest, state, 1, 64)[1], many(apply, state, 2, 64))


def test_outputs_are_those_of_a_network_with_a_unit_for_each_particle(x64):
    """With a hidden matrix that has the images of the vectors met, and is random beside them."""
    state = trained(jax.random.key(0), 400, 2)
    matrix = state.hidden[0]
    met = matrix.input_gram.diagonal() > 0
    inputs, images, cotangents, pulled = (np.asarray(rows)[met] for rows in matrix[:4])
    known = images.T @ np.linalg.pinv(inputs.T) + np.linalg.pinv(cotangents) @ pulled
    known -= cotangents.T * np.asarray(matrix.rates)[met] @ inputs / 400
    unmet = np.eye(400) - np.linalg.pinv(inputs) @ inputs

    def outputs(key):
        weight = known + jax.random.normal(key, (400, 400)) / 20 @ unmet
        return jnp.tanh(jnp.tanh(NEW @ state.first) @ weight.T) @ state.readout.T / 400

    networks = jax.jit(lambda keys: jax.lax.map(outputs, keys))(jax.random.split(jax.random.key(1), 100))
    assert_means_agree(networks, many(apply, state, 2, 100))


def test_outputs_on_new_inputs_are_those_of_the_exact_limit(x64):
    """Linear, 10,000 particles and 8 keys, a bias of 10 / M."""
    linear = lambda h: h
    exact = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=3, capacity=12, dtype="float64")
    x, y, new = jnp.asarray(X), jnp.asarray(Y), jnp.asarray(NEW)
    exact, _ = jax.jit(lambda s: iw.deep_linear_limit_train(s, x, y, jnp.subtract, 0.1))(exact)
    expected = iw.deep_linear_limit_apply(exact, new)
    run = lambda key: apply(trained(key, 10_000, 3, linear, 0.1), NEW, linear)
    ours = jax.jit(lambda keys: jax.lax.map(run, keys))(jax.random.split(jax.random.key(0), 8))
    assert_means_agree(ours, expected[None], bias=1e-3)
    assert np.abs(expected).max() > 0.5


def test_outputs_on_new_inputs_are_those_of_wide_networks():
    """10,000 particles and 8 keys beside 24 tanh networks of width 600, trained on the same batches."""
    x, y, new = (jnp.asarray(a, "float32") for a in (X, Y, NEW))
    net = iw.abc_mlp(*iw.abc_parametrization("mup", depth=2), jnp.tanh)

    def network(key):
        params = net.init(key, width=600, inputs=2, outputs=2)

        def step(params, batch):
            f, pull = jax.vjp(lambda p: net.apply(p, batch[0]), params)
            return jax.tree.map(lambda p, g: p - ETA * g, params, pull(f - batch[1])[0]), None

        return net.apply(jax.lax.scan(step, params, (x, y))[0], new)

    networks = jax.jit(lambda keys: jax.lax.map(network, keys))(jax.random.split(jax.random.key(0), 24))
    with jax.enable_x64(True):
        run = lambda key: apply(trained(key, 10_000, 2), NEW)
        ours = jax.jit(lambda keys: jax.lax.map(run, keys))(jax.random.split(jax.random.key(1), 8))
        assert_means_agree(networks, ours, bias=4 / 600)


def test_eight_devices_give_what_one_gives(x64, mesh8):
    state = trained(jax.random.key(0), 1000, 3)
    np.testing.assert_allclose(apply(state, NEW, mesh=mesh8), apply(state, NEW), rtol=1e-7, atol=1e-9)
    text = apply.lower(state, NEW, mesh=mesh8).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text


def test_gradients_are_finite_where_an_input_has_nothing_new(x64):
    state, _ = rest(trained(jax.random.key(0), 500, 2), NEW)
    slope = jax.jit(jax.grad(lambda x: apply(state, x).sum()))
    assert np.isfinite(slope(NEW)).all()
    assert np.abs(slope(NEW)).max() > 1e-2
