"""The limit of one hidden linear layer, and word vectors, against recursions, symmetries and sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods import infinite_width as iw

pytestmark = pytest.mark.usefixtures("x64")

X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.random.default_rng(1).normal(size=(6, 3))
error = lambda f, y: jnp.mean(jnp.sum((f - y) ** 2, 1)) / 2
step_words = jax.jit(iw.cbow_step, static_argnames="weight_decay")


def trajectory(params, optimizer, steps=5):
    """Outputs before each step of training on X and Y."""

    def step(carry, _):
        params, state = carry
        apply = lambda p: iw.linear_net_apply(p, jnp.asarray(X), bias_alpha=0.7)
        updates, state = optimizer.update(jax.grad(lambda p: error(apply(p), Y))(params), state, params)
        return (optax.apply_updates(params, updates), state), apply(params)

    return jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), length=steps)[1])(params)


def test_one_input_and_output_follow_the_scalar_recursion():
    data, eta = [(0.3, 1.0), (-0.8, 0.4), (1.1, -0.5), (0.6, 0.2)], 0.3
    a, b, c, d = 0.0, 1.0, 1.0, 0.0
    net = iw.linear_limit_init(1, 1, dtype="float64")
    apply = jax.jit(jax.value_and_grad(lambda p, x: iw.linear_net_apply(p, x)[0, 0]))
    for xi, y in data:
        f, gradient = apply(net, jnp.array([[xi]]))
        np.testing.assert_allclose(f, (a * c + b * d) * xi, rtol=1e-12, atol=1e-14)
        chi = float(f) - y
        net = jax.tree.map(lambda p, g, chi=chi: p - eta * chi * g, net, gradient)
        a, b, c, d = a - eta * chi * xi * c, b - eta * chi * xi * d, c - eta * chi * xi * a, d - eta * chi * xi * b


def test_rotating_the_hidden_layer_changes_nothing_but_under_adam():
    net = iw.linear_limit_init(4, 3, 0.8, 0.5, hidden_bias=True, output_bias=True, dtype="float64")
    q = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    turned = net._replace(inner=q @ net.inner, outer=net.outer @ q.T, hidden_bias=q @ net.hidden_bias)
    allowed = optax.chain(optax.clip_by_global_norm(0.2), optax.add_decayed_weights(0.01), optax.sgd(0.5, 0.9))
    np.testing.assert_allclose(trajectory(net, allowed), trajectory(turned, allowed), rtol=1e-10, atol=1e-12)
    adam = optax.adam(0.05)
    assert np.abs(trajectory(net, adam) - trajectory(turned, adam)).max() > 1e-3


def test_wide_networks_tend_to_the_limit_as_the_root_of_the_width():
    descent = optax.sgd(0.3)
    limit = trajectory(iw.linear_limit_init(4, 3, 0.8, 0.5, hidden_bias=True, dtype="float64"), descent)
    gaps = []
    for n in (64, 1024):
        init = lambda key, n=n: iw.linear_net_init(key, n, 4, 3, 0.8, 0.5, hidden_bias=True, dtype="float64")
        nets = jax.vmap(init)(jax.random.split(jax.random.key(n), 24))
        gaps.append(np.sqrt(np.mean((jax.vmap(lambda p: trajectory(p, descent))(nets) - limit[None]) ** 2)))
    assert 0.15 < gaps[1] / gaps[0] < 0.4  # 1 / 4


def test_a_sample_of_the_trained_limit_computes_what_it_computes():
    net = iw.linear_limit_init(4, 3, 0.8, 0.5, hidden_bias=True, output_bias=True, dtype="float64")
    net = net._replace(outer=net.outer + 0.3, hidden_bias=net.hidden_bias + 0.2, output_bias=net.output_bias - 1)
    samples = jax.vmap(lambda key: iw.linear_limit_sample(key, net, 512))(jax.random.split(jax.random.key(0), 64))
    values = jax.vmap(lambda p: iw.linear_net_apply(p, jnp.asarray(X), bias_alpha=0.7))(samples)
    scores = (values.mean(0) - iw.linear_net_apply(net, jnp.asarray(X), bias_alpha=0.7)) / (values.std(0) / 8)
    assert np.abs(scores).max() < 5
    assert iw.linear_limit_init(4, 3, sv=0.0).outer.shape == (3, 4)


CONTEXT = np.array([[0, 2, -1, 4], [1, -1, -1, -1], [3, 0, 0, 2], [-1, -1, -1, -1]])
TARGETS = np.array([[1, 3, 5], [5, 0, -1], [4, 1, 3], [2, 3, 4]])


def test_a_step_on_words_is_the_gradient_of_the_loss_written_out():
    vectors = jax.tree.map(lambda a: a[0], iw.WordVectors(*np.random.default_rng(3).normal(size=(2, 1, 6, 5))))

    def total(vectors):
        value = 0.0
        for context, targets in zip(CONTEXT, TARGETS, strict=True):
            near = [w for w in context if w >= 0]
            if near:
                hidden = sum(vectors.inner[w] for w in near) / len(near)
                for j, word in enumerate(targets):
                    if word >= 0:
                        f = vectors.outer[word] @ hidden
                        value -= jax.nn.log_sigmoid(f if j == 0 else -f)
        return value

    vectors = iw.WordVectors(*map(jnp.asarray, vectors))
    value, gradient = jax.value_and_grad(total)(vectors)
    moved, loss = step_words(vectors, CONTEXT, TARGETS, 0.2)
    np.testing.assert_allclose(loss, value / 3, rtol=1e-12)
    for ours, start, slope in zip(moved, vectors, gradient, strict=True):
        np.testing.assert_allclose(ours, start - 0.2 * slope, rtol=1e-11, atol=1e-13)
    decayed, _ = step_words(vectors, CONTEXT[:1], TARGETS[:1], 0.2, weight_decay=0.1)
    plain, _ = step_words(vectors, CONTEXT[:1], TARGETS[:1], 0.2)
    touched = np.isin(np.arange(6), CONTEXT[0])[:, None]
    np.testing.assert_allclose(decayed.inner - plain.inner, np.where(touched, -0.02 * vectors.inner, 0), atol=1e-12)


def test_the_limit_of_word_vectors_is_the_linear_limit():
    net = iw.linear_limit_init(6, 6, sv=0.0, dtype="float64")
    words = iw.cbow_limit_init(6, dtype="float64")
    np.testing.assert_array_equal(words.inner, net.inner.T)
    np.testing.assert_array_equal(words.outer, net.outer)


def test_negatives_have_the_frequencies_of_their_power():
    counts = jnp.array([0.0, 1.0, 16.0, 81.0])
    drawn = np.bincount(iw.negative_samples(jax.random.key(0), counts, (20_000,)), minlength=4) / 20_000
    p = np.array([0, 1, 8, 27]) / 36
    assert (np.abs(drawn - p) <= 5 * np.sqrt(p * (1 - p) / 20_000)).all()


def test_windows_shrink_uniformly_and_end_with_the_text():
    tokens = jnp.array([0, 1, 2, -1, 4, 5, 6, 7, 8])
    words = np.asarray(iw.shrunk_windows(jax.random.key(0), tokens, jnp.full(3000, 6), window=3))
    sizes = np.bincount((words[:, :3] >= 0).sum(1), minlength=4)
    np.testing.assert_array_equal(sizes[[0, 3]], [0, 0])  # two words to the left at most
    assert abs(sizes[1] / 3000 - 1 / 3) < 5 * np.sqrt(2 / 9 / 3000)
    assert set(map(tuple, words)) == {(-1, -1, 5, 7, -1, -1), (-1, 4, 5, 7, 8, -1)}


def test_the_vocabulary_is_shared_by_eight_devices_without_gathering_it(mesh8):
    vectors = iw.WordVectors(*np.random.default_rng(4).normal(size=(2, 16, 5)))
    run = jax.jit(lambda v: step_words(v, CONTEXT, TARGETS, 0.2, weight_decay=0.1))
    shared = jax.device_put(vectors, NamedSharding(mesh8, P("data")))
    for ours, truth in zip(run(shared)[0], run(vectors)[0], strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-11, atol=1e-13)
    assert "all-gather" not in run.lower(shared).compile().as_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iw.linear_limit_init(0, 1), "d must be an integer"),
        (lambda: iw.linear_limit_init(2, 1, -1.0), "su must be nonnegative"),
        (lambda: iw.linear_net_init(jax.random.key(0), 0, 2, 1), "n must be an integer"),
        (lambda: iw.linear_net_apply(iw.linear_limit_init(2, 1), jnp.ones((3, 3))), "x must be an array of shape"),
        (lambda: iw.linear_limit_sample(jax.random.key(0), iw.linear_limit_init(2, 1), 0), "n must be"),
        (lambda: iw.cbow_init(jax.random.key(0), 3, 0), "n must be"),
        (lambda: iw.cbow_limit_init(0), "vocabulary must be"),
        (lambda: iw.cbow_step(iw.cbow_limit_init(6), CONTEXT, TARGETS[:2], 0.1), "a matrix of 4 rows"),
        (lambda: iw.negative_samples(jax.random.key(0), jnp.ones((2, 2)), (1,)), "counts must be"),
        (lambda: iw.shrunk_windows(jax.random.key(0), jnp.arange(3), jnp.arange(2), window=0), "window must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
