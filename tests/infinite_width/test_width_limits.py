"""Limits of deep networks: recursions, stored values, finite networks, and one another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.infinite_width.limits import deep_linear

DATA = np.array([(0.104775, -0.110087), (0.087417, -0.446391), (1.086667, 0.789234)])
TARGETS = np.array([[0.640423], [0.361595], [-0.703735]])
STORED = {
    1: (0, 0.022402, -0.042080, 0.010032, 0.191025, -0.784681, 0.026673, 0.222352),
    2: (0, 0.033604, -0.060842, 0.014914, 0.289453, -1.151326, 0.038119, 0.189500),
}


@jax.jit
def linear_path(state, x, y, eta):
    """States and outputs over steps, one batch (b, d) each."""

    def step(state, batch):
        x, y = batch
        state, f = iw.deep_linear_limit_step(state, x, lambda f: f - y, eta)
        return state, (state, f)

    return jax.lax.scan(step, state, (x, y))[1]


@functools.partial(jax.jit, static_argnames=("activation", "mesh"))
def particle_path(state, x, y, eta, *, activation, mesh=None):
    def step(state, batch):
        x, y = batch
        return iw.particle_limit_step(state, x, lambda f: f - y, eta, activation=activation, mesh=mesh)

    return jax.lax.scan(step, state, (x, y))


def cycled(steps, dtype="float64"):
    at = np.arange(steps) % 3
    return jnp.asarray(DATA[at][:, None], dtype), jnp.asarray(TARGETS[at][:, None], dtype)


def batches(steps=4, batch=3, inputs=2, outputs=2, dtype="float64"):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(steps, batch, inputs)), rng.normal(size=(steps, batch, outputs))
    return jnp.asarray(0.6 * x, dtype), jnp.asarray(y, dtype)


def finite_path(key, width, depth, x, y, eta, activation=lambda h: h):
    """Outputs of a network of this width in mup over the same steps."""
    mup = iw.abc_parametrization("mup", depth=depth)
    net = iw.abc_mlp(*mup, activation)
    params = net.init(key, width=width, inputs=x.shape[-1], outputs=y.shape[-1], dtype=x.dtype.name)

    def step(params, batch):
        x, y = batch
        f, pull = jax.vjp(lambda p: net.apply(p, x), params)
        return jax.tree.map(lambda p, g: p - eta * g, params, pull(f - y)[0]), f

    return jax.lax.scan(step, params, (x, y))[1]


@pytest.mark.parametrize("depth", [1, 2])
def test_the_linear_limit_has_the_stored_values(depth, x64):
    state = iw.deep_linear_limit_init(inputs=2, outputs=1, depth=depth, capacity=8, dtype="float64")
    _, f = linear_path(state, *cycled(8), 0.3)
    np.testing.assert_allclose(f.ravel(), STORED[depth], atol=2e-5)


def test_one_hidden_layer_follows_the_scalar_recursion(x64):
    rng = np.random.default_rng(0)
    x, y, eta = rng.normal(size=6), rng.normal(size=6), 0.2
    a, b, c, d = 0.0, 1.0, 1.0, 0.0
    expected = []
    for xi, target in zip(x, y, strict=True):
        f = (a * c + b * d) * xi
        rate = eta * (f - target) * xi
        a, b, c, d = a - rate * c, b - rate * d, c - rate * a, d - rate * b
        expected.append(f)
    state = iw.deep_linear_limit_init(inputs=1, outputs=1, depth=1, capacity=1, dtype="float64")
    _, f = linear_path(state, jnp.asarray(x)[:, None, None], jnp.asarray(y)[:, None, None], eta)
    np.testing.assert_allclose(f.ravel(), expected, rtol=1e-10, atol=1e-12)


def test_one_hidden_layer_is_a_net_of_inputs_plus_outputs_units(x64):
    x, y = batches()
    params = jnp.eye(4)[:, :2], jnp.eye(4)[2:]
    expected = []
    for batch, target in zip(x, y, strict=True):
        f, pull = jax.vjp(lambda p, batch=batch: batch @ p[0].T @ p[1].T, params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, pull(f - target)[0])
        expected.append(f)
    state = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=1, capacity=1, dtype="float64")
    np.testing.assert_allclose(linear_path(state, x, y, 0.1)[1], np.array(expected), rtol=1e-10, atol=1e-12)


def test_matrices_keep_their_directions_and_what_they_have_mapped(x64):
    """Fresh rows stay orthonormal, and images and pulled vectors agree: <W x, y> = <x, W^T y> at all times."""
    state = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=3, capacity=12, dtype="float64")
    states, _ = linear_path(state, *batches(), 0.1)
    rng = np.random.default_rng(0)
    for time in range(4):
        for matrix in jax.tree.map(lambda a, time=time: a[time], states).hidden:
            for rows in (matrix.forward, matrix.backward):
                gram = rows @ rows.T
                known = np.diag(gram) > 0.5
                np.testing.assert_allclose(gram, np.diag(known.astype(float)), atol=1e-10)
            x = matrix.forward.T @ rng.normal(size=len(matrix.forward))
            y = matrix.backward.T @ rng.normal(size=len(matrix.forward))
            _, image, _ = deep_linear._product(matrix.forward, matrix.backward, x, jnp.zeros((), int))
            _, pulled, _ = deep_linear._product(matrix.backward, matrix.forward, y, jnp.zeros((), int))
            np.testing.assert_allclose(image @ y, x @ pulled, atol=1e-10)


def test_the_adjoint_term_matters(x64, monkeypatch):
    state = iw.deep_linear_limit_init(inputs=2, outputs=1, depth=2, capacity=8, dtype="float64")
    monkeypatch.setattr(deep_linear, "_zdot", lambda transposed, x: 0 * x)
    _, f = jax.jit(lambda *a: linear_path.__wrapped__(*a))(state, *cycled(8), 0.3)
    assert np.abs(f.ravel() - np.array(STORED[2])).max() > 0.01


@pytest.mark.parametrize("depth", [2, 3])
def test_wide_linear_networks_follow_the_limit(depth):
    """Width 400, batches of 3 and 2 outputs: the mean of 24 networks within 5 errors, and 4 / n."""
    x, y = batches(dtype="float32")
    state = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=depth, capacity=12)
    _, f = linear_path(state, x, y, jnp.float32(0.1))
    run = jax.jit(lambda keys: jax.lax.map(lambda key: finite_path(key, 400, depth, x, y, 0.1), keys))
    paths = run(jax.random.split(jax.random.key(0), 24))
    error = paths.std(0, ddof=1) / 24**0.5
    assert (np.abs(paths.mean(0) - f) < 5 * error + 4 / 400).all()
    assert np.abs(f[1:]).max() > 10 * error.max()


def test_repeated_directions_take_no_room_and_lack_of_room_is_told():
    state = iw.deep_linear_limit_init(inputs=1, outputs=1, depth=2, capacity=3)
    x, y = jnp.ones((1, 3, 1)), jnp.zeros((1, 3, 1))
    states, _ = linear_path(state, x, y, jnp.float32(0.1))
    assert states.used[0].tolist() == [1, 2]  # f = 0 and chi = 0: one direction of inputs, none of cotangents
    small = iw.deep_linear_limit_init(inputs=2, outputs=1, depth=2, capacity=2)
    states, _ = linear_path(small, *cycled(4, "float32"), jnp.float32(0.3))
    assert np.isnan(states.readout[-1]).all()
    few = iw.particle_limit_init(jax.random.key(0), particles=8, inputs=2, outputs=1, depth=2, capacity=2)
    state, _ = particle_path(few, *cycled(4, "float32"), jnp.float32(0.3), activation=jnp.tanh)
    assert np.isnan(state.readout).all()


@pytest.mark.parametrize("depth", [1, 3])
def test_training_is_a_scan_of_steps(depth, x64):
    x, y = batches()
    linear = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=depth, capacity=12, dtype="float64")
    train = jax.jit(lambda s: iw.deep_linear_limit_train(s, x, y, jnp.subtract, 0.1))
    np.testing.assert_allclose(train(linear)[1], linear_path(linear, x, y, 0.1)[1], rtol=1e-10, atol=1e-12)
    cloud = iw.particle_limit_init(
        jax.random.key(0), particles=40, inputs=2, outputs=2, depth=depth, capacity=12, dtype="float64"
    )
    train = jax.jit(lambda s: iw.particle_limit_train(s, x, y, jnp.subtract, 0.1, activation=jnp.tanh))
    expected = particle_path(cloud, x, y, 0.1, activation=jnp.tanh)[1]
    np.testing.assert_allclose(train(cloud)[1], expected, rtol=1e-8, atol=1e-10)


def one_by_one(state, step):
    x, y = cycled(4, "float32")
    for t in range(4):
        state, f = step(state, x[t], lambda f, t=t: f - y[t], 0.3)
        yield f


def test_bad_numbers_of_samples_are_named_where_they_are_known():
    """Outside `jit` at the step that is too many; inside, where shapes tell; after it, when the state is used."""
    x, y = cycled(4, "float32")
    tanh = dict(activation=jnp.tanh)
    particle = functools.partial(iw.particle_limit_step, **tanh)
    too_many = functools.partial(pytest.raises, ValueError)
    for state, step, needed in ((linear(), iw.deep_linear_limit_step, 3), (particles(), particle, 3)):
        steps = one_by_one(state, step)
        assert np.isfinite([next(steps), next(steps)]).all()
        with too_many(match=rf"capacity must be at least {needed}, .*, got 2"):
            list(steps)
    full, _ = iw.particle_limit_train(particles(), x[:2], y[:2], jnp.subtract, 0.3, **tanh)
    train = lambda s, t: iw.particle_limit_train(s, x[:t], y[:t], jnp.subtract, 0.3, **tanh)
    over_linear = jax.tree.map(lambda a: a[-1], linear_path(linear(), x, y, jnp.float32(0.3))[0])
    over, _ = particle_path(particles(), x, y, jnp.float32(0.3), activation=jnp.tanh)
    for call, needed in (
        (lambda: jax.jit(lambda s: train(s, 4))(particles()), 4),
        (lambda: train(full, 1), 3),
        (lambda: jax.jit(lambda s: particle(s, x[:3, 0], jnp.sin, 0.3))(particles()), 3),
        (lambda: iw.particle_limit_apply(over, x[0], **tanh), 4),
        (lambda: jax.jit(lambda s: iw.deep_linear_limit_train(s, x, y, jnp.subtract, 0.3))(linear()), 4),
        (lambda: iw.deep_linear_limit_apply(over_linear, x[0]), 3),
        (lambda: iw.deep_linear_limit_step(over_linear, x[0], jnp.sin, 0.3), 3),
    ):
        with too_many(match=rf"capacity must be at least {needed}, .*, got 2"):
            call()


def test_particles_of_one_hidden_layer_are_the_mean_field_network(x64):
    """The same U and v; the loss is linear in f, for the limit sets f_0 to 0."""
    x, y = batches(outputs=2)
    state = iw.particle_limit_init(
        jax.random.key(0), particles=40, inputs=2, outputs=2, depth=1, capacity=1, dtype="float64"
    )
    first, readout, path = state.first, state.readout, []
    step = jax.jit(lambda s, x, y: iw.particle_limit_step(s, x, lambda f: 0 * f - y, 0.3, activation=jnp.tanh))
    apply = lambda p, x: jnp.tanh(x @ p[0]) @ p[1].T / 40
    params = first, readout
    for t in range(4):
        state, f = step(state, x[t], y[t])
        expected, pull = jax.vjp(lambda p, t=t: apply(p, x[t]), params)
        params = jax.tree.map(lambda p, g: p - 0.3 * 40 * g, params, pull(-y[t])[0])
        path.append((f, expected))
    for f, expected in path[1:]:
        np.testing.assert_allclose(f, expected, rtol=1e-9)


@pytest.mark.parametrize("depth", [2, 3])
def test_linear_particles_follow_the_exact_limit(depth, x64):
    """10,000 particles, batches of 3 and 2 outputs: the mean of 8 keys within 6 errors, and a bias of 10 / M."""
    x, y = batches(steps=3)
    exact = iw.deep_linear_limit_init(inputs=2, outputs=2, depth=depth, capacity=12, dtype="float64")
    _, f = linear_path(exact, x, y, 0.1)

    def run(key):
        state = iw.particle_limit_init(
            key, particles=10_000, inputs=2, outputs=2, depth=depth, capacity=9, dtype="float64"
        )
        return particle_path(state, x, y, 0.1, activation=lambda h: h)[1]

    paths = jax.jit(lambda keys: jax.lax.map(run, keys))(jax.random.split(jax.random.key(0), 8))
    error = paths.std(0, ddof=1) / 8**0.5
    assert (np.abs(paths.mean(0) - f) < 6 * error + 1e-3).all()
    assert np.abs(f).max() > 20 * error.max()


def test_eight_devices_hold_the_particles_and_share_small_matrices(mesh8):
    state = iw.particle_limit_init(jax.random.key(0), particles=1000, inputs=2, outputs=1, depth=3, capacity=4)
    data = *cycled(4, "float32"), jnp.float32(0.5)
    one = particle_path(state, *data, activation=jnp.tanh)
    eight = particle_path(state, *data, activation=jnp.tanh, mesh=mesh8)
    np.testing.assert_allclose(one[1], eight[1], atol=2e-3)  # small directions amplify rounding
    text = particle_path.lower(state, *data, activation=jnp.tanh, mesh=mesh8).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text
    assert "1000,1000" not in text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear(depth=0), ValueError, "depth"),
        (lambda: linear(capacity=0), ValueError, "capacity"),
        (lambda: iw.deep_linear_limit_apply(linear(), jnp.ones((1, 3))), ValueError, "x must be an array of shape"),
        (
            lambda: iw.deep_linear_limit_train(linear(), jnp.ones((1, 2)), jnp.ones((1, 1)), jnp.subtract, 0.1),
            ValueError,
            "x must be an array of shape",
        ),
        (
            lambda: iw.deep_linear_limit_step(linear(), jnp.ones((1, 2)), lambda f: f[0], 0.1),
            ValueError,
            r"cotangent\(f\) must be of shape \(1, 1\)",
        ),
        (lambda: particles(particles=0), ValueError, "particles"),
        (lambda: particle_step(jnp.ones((1, 3))), ValueError, "x must be an array of shape"),
        (lambda: particle_apply(jnp.ones((1, 3))), ValueError, "x must be an array of shape"),
        (lambda: particle_apply(jnp.ones((1, 2), int)), TypeError, "x must have a floating dtype"),
        (lambda: particle_step(jnp.ones((1, 2), int)), TypeError, "x must have a floating dtype"),
        (lambda: particle_step(jnp.ones((1, 2)), lambda f: f[0]), ValueError, r"cotangent\(f\)"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_meshes_are_named(mesh8):
    for axis, message in (("model", "axis must be an axis"), ("data", "particles must be a multiple")):
        with pytest.raises(ValueError, match=message):
            particle_step(jnp.ones((1, 2)), mesh=mesh8, axis=axis)
        with pytest.raises(ValueError, match=message):
            particle_apply(jnp.ones((1, 2)), mesh=mesh8, axis=axis)


def linear(**options):
    return iw.deep_linear_limit_init(**(dict(inputs=2, outputs=1, depth=2, capacity=2) | options))


def particles(**options):
    sizes = dict(particles=4, inputs=2, outputs=1, depth=2, capacity=2)
    return iw.particle_limit_init(jax.random.key(0), **(sizes | options))


def particle_apply(x, **options):
    return iw.particle_limit_apply(particles(), x, activation=jnp.tanh, **options)


def particle_step(x, cotangent=lambda f: f, **options):
    return iw.particle_limit_step(particles(), x, cotangent, 0.1, activation=jnp.tanh, **options)
