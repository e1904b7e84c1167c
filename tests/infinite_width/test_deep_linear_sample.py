"""Networks of finite width drawn from the limit of deep linear networks, against the limit and trained networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

STEPS, BATCH, ETA = 4, 3, 0.2
WIDTHS = {48: 192, 144: 96, 432: 64}  # and how many networks
rng = np.random.default_rng(1)
X, Y = (jnp.asarray(size * rng.normal(size=(STEPS, BATCH, 2)), "float32") for size in (0.6, 1.5))
NEW = jnp.asarray(rng.normal(size=(3, 2)), "float32")


def network(depth):
    return iw.abc_mlp(*iw.abc_parametrization("mup", depth=depth), lambda h: h)


@functools.partial(jax.jit, static_argnames="depth")
def limit(depth, x, y):
    """The trained state, with room for inputs of the test."""
    state = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=depth, capacity=STEPS * BATCH + 3)
    return iw.deep_linear_limit_train(state, x, y, jnp.subtract, jnp.float32(ETA))


@jax.jit
def limit_grams(state, x):
    """Kernels <h^l(x), h^l(x')>, from a step of rate 0, in which the matrices meet x."""
    state, _ = iw.deep_linear_limit_step(state, x, jnp.zeros_like, jnp.float32(0))
    h = [x @ state.first.T]
    for matrix in state.hidden:
        h.append(h[-1] @ (matrix.forward + matrix.backward.T + matrix.trained).T)
    return jnp.stack([a @ a.T for a in h])


def train(net, params, x, y):
    """Weights after SGD on batches, and outputs before each step."""

    def step(params, batch):
        x, y = batch
        f, pull = jax.vjp(lambda p: net.apply(p, x), params)
        return jax.tree.map(lambda p, g: p - ETA * g, params, pull(f - y)[0]), f

    return jax.lax.scan(step, params, (x, y))


def measure(net, params, x):
    """Outputs, and Gram matrices of hidden features."""
    h = jnp.stack(net.taps(params, x).preactivations)
    return net.apply(params, x), jnp.einsum("lin,ljn->lij", h, h) / h.shape[-1]


@functools.partial(jax.jit, static_argnames=("n", "depth"))
def measure_samples(keys, state, n, depth):
    draw = lambda key: measure(network(depth), iw.deep_linear_limit_sample(key, state, n), NEW)
    return jax.lax.map(draw, keys)


def assert_means_agree(samples, expected, n, error=0.0):
    """The mean of independent networks within 5 standard errors and a bias of 4 / n of scale 1."""
    samples = np.asarray(samples, float)
    error = np.sqrt(samples.var(0, ddof=1) / len(samples) + error**2)
    assert (np.abs(samples.mean(0) - expected) < 5 * error + 4 / n).all()


@pytest.mark.parametrize("depth", [1, 3])
def test_untrained_limits_give_networks_at_their_start(depth):
    """Moments of N(0, 1 / n) within 5 standard errors, layer by layer, and the singular values of a random matrix."""
    state = iw.deep_linear_limit_init(inputs=40, outputs=30, depth=depth, capacity=1)
    weights = iw.deep_linear_limit_sample(jax.random.key(0), state, 400)
    assert [w.shape for w in weights] == [(40, 400), *[(400, 400)] * (depth - 1), (400, 30)]
    for w in weights:
        z = 20 * np.asarray(w, float)
        scores = np.array([z.mean(), (z**2).mean() - 1, (z**4).mean() - 3]) * z.size**0.5 / np.sqrt([1, 2, 96])
        assert np.abs(scores).max() < 5
    for w in weights[1:-1]:
        np.testing.assert_allclose(np.linalg.norm(w, 2), 2, atol=0.1)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_samples_tend_to_the_limit_as_the_root_of_the_width(depth):
    """Deviations of outputs and of Gram matrices fall with the power -1/2 of the width, and have no bias."""
    state, _ = limit(depth, X, Y)
    expected = iw.deep_linear_limit_apply(state, NEW), limit_grams(state, NEW)
    squares = []
    for n, count in WIDTHS.items():
        samples = measure_samples(jax.random.split(jax.random.key(n), count), state, n, depth)
        for sample, truth in zip(samples, expected, strict=True):
            assert_means_agree(sample, truth, n)
            squares.append(jnp.mean((sample - truth[None]).reshape(8, -1) ** 2, 1))  # in 8 groups of networks
    squares = np.reshape(squares, (len(WIDTHS), 2, 8))
    power = lambda squares: np.polyfit(np.log([*WIDTHS]), 0.5 * np.log(squares), 1)[0]
    slope = power(squares.mean(2))
    error = np.std([power(squares[..., i]) for i in range(8)], 0, ddof=1) / 8**0.5
    assert (np.abs(slope + 0.5) < 5 * error).all()
    assert (error < 0.05).all()


@pytest.mark.parametrize("depth", [2, 3])
def test_samples_have_the_features_of_networks_that_were_trained(depth):
    n = 256
    net = network(depth)
    state, _ = limit(depth, X, Y)

    def network_of(key):
        params, _ = train(net, net.init(key, width=n, inputs=2, outputs=2), X, Y)
        return measure(net, params, NEW)

    trained = jax.jit(lambda keys: jax.lax.map(network_of, keys))(jax.random.split(jax.random.key(0), 48))
    samples = measure_samples(jax.random.split(jax.random.key(1), 48), state, n, depth)
    for sample, truth in zip(samples, trained, strict=True):
        truth = np.asarray(truth, float)
        assert_means_agree(sample, truth.mean(0), n, truth.std(0, ddof=1) / 48**0.5)
    assert np.abs(trained[1].mean(0) - (NEW @ NEW.T)[None]).max() > 0.5  # all kernels before training


@pytest.mark.parametrize("depth", [2, 3])
def test_samples_go_on_training_as_the_limit_does(depth):
    """Drawn after two steps, width 256: outputs before each of two more, mean of 48 networks."""
    _, f = limit(depth, X, Y)
    half, _ = limit(depth, X[:2], Y[:2])
    run = lambda key: train(network(depth), iw.deep_linear_limit_sample(key, half, 256), X[2:], Y[2:])[1]
    paths = jax.jit(lambda keys: jax.lax.map(run, keys))(jax.random.split(jax.random.key(0), 48))
    assert_means_agree(paths, f[2:], 256)


def test_bad_samples_are_refused():
    state = iw.deep_linear_limit_init(inputs=1, outputs=1, depth=2, capacity=1)
    with pytest.raises(ValueError, match="n must be an integer, at least 3, got 2"):
        iw.deep_linear_limit_sample(jax.random.key(0), state, 2)
    step = jax.jit(lambda s: iw.deep_linear_limit_step(s, jnp.ones((1, 1)), lambda f: f - 1, 0.1)[0])
    with pytest.raises(ValueError, match=r"capacity must be at least 2, .*, got 1"):
        iw.deep_linear_limit_sample(jax.random.key(0), step(step(step(state))), 8)
