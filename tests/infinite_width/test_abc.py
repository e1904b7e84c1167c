"""abc-parametrizations: the table of named ones, exact invariances, the kernel of wide networks, devices."""

from fractions import Fraction as F

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings, strategies as st
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods import infinite_width as iw

QUARTER = iw.AbcParametrization((0, F(1, 2), F(3, 4)), (0, 0, 0), F(-1, 2))
fractions = st.fractions(min_value=-2, max_value=2, max_denominator=4)


@st.composite
def exponents(draw):
    """Half of them stable at the start, so that every class is met."""
    layers = draw(st.integers(2, 4))
    numbers = st.lists(fractions, min_size=layers, max_size=layers)
    a, b = draw(numbers), draw(numbers)
    if draw(st.booleans()):
        b = [-a[0], *(F(1, 2) - value for value in a[1:-1]), F(1, 2) - a[-1] + draw(st.sampled_from([0, F(1, 2), 1]))]
    return tuple(a), tuple(b), draw(fractions)


@pytest.mark.parametrize(
    ("name", "depth", "r", "kind", "ntk_layers"),
    [
        ("sp", 1, 0, "unstable", ()),
        ("sp", 2, -1, "unstable", ()),
        ("sp_scaled_rate", 1, F(3, 2), "kernel", (2,)),
        ("sp_scaled_rate", 3, F(1, 2), "kernel", (2, 3, 4)),
        ("ntp", 1, F(1, 2), "kernel", (1, 2)),
        ("ntp", 3, F(1, 2), "kernel", (1, 2, 3, 4)),
        ("mfp", 1, 0, "feature learning", ()),
        ("mup", 1, 0, "feature learning", ()),
        ("mup", 4, 0, "feature learning", ()),
    ],
)
def test_named_parametrizations_have_their_classes(name, depth, r, kind, ntk_layers):
    report = iw.abc_classify(*iw.abc_parametrization(name, depth=depth))
    assert (report.r, report.ntk_layers) == (r, ntk_layers)
    assert report.stable_init
    assert report.stable == report.nontrivial == (kind != "unstable")
    assert report.kernel == (kind == "kernel")
    assert report.feature_learning == (kind == "feature learning")
    assert report.initial_output == ("zero" if report.feature_learning else "gaussian process")
    everything = report.maximally_updated == tuple(range(1, depth + 2)) and report.maximally_initialised
    assert everything == report.feature_learning


def test_instability_is_told_in_words():
    report = iw.abc_classify(*iw.abc_parametrization("sp", depth=2))
    assert [text.split(",")[0] for text in report.violations] == [
        "r must be at least 0",
        "2 a_3 + c must be at least 1",
        "a_3 + b_3 + r must be at least 1",
    ]
    report = iw.abc_classify((0.5, 0, 0), (0, 0, 0.25), 0.3)
    assert [text.split(" must")[0] for text in report.violations[:3]] == ["a_1 + b_1", "a_2 + b_2", "a_3 + b_3"]
    assert report.violations[0].endswith("it is 0.5")
    assert report.initial_output == "diverges"


def test_points_between_and_trivial_points_are_known():
    between = iw.abc_classify(*QUARTER)
    assert (between.r, between.kernel, between.initial_output) == (F(1, 4), True, "zero")
    a, b, c = iw.abc_parametrization("ntp", depth=2)
    trivial = iw.abc_classify((*a[:-1], 3), b, c)
    assert trivial.stable
    assert not trivial.nontrivial
    same = iw.AbcParametrization((0, F(1, 2), 1), (0, 0, 0), -1)
    assert iw.abc_shift(*same, F(-1, 2)) == iw.abc_parametrization("mup", depth=2)


@settings(max_examples=100, deadline=None)
@given(exponents(), fractions, st.lists(fractions, min_size=4, max_size=4))
def test_the_dichotomy_and_shifts_hold_for_all_exponents(abc, theta, each):
    report = iw.abc_classify(*abc)
    assert (report.feature_learning + report.kernel == 1) == report.nontrivial
    if report.feature_learning:
        assert report.initial_output == "zero"
    assert report.stable == (not report.violations)
    for shift in (theta, each[: len(abc[0])]):
        moved = iw.abc_shift(*abc, shift)
        assert iw.abc_classify(*moved)[:-1] == report[:-1]
    floats = iw.abc_classify(*iw.abc_shift(*abc, 0.1))
    assert floats[2:-1] == report[2:-1]
    np.testing.assert_allclose(floats.r, float(report.r), atol=1e-9)
    if report.stable and len(report.maximally_updated) == len(abc[0]) and report.maximally_initialised:
        mup = iw.abc_parametrization("mup", depth=len(abc[0]) - 1)
        assert iw.abc_shift(*abc, mup.a[0] - abc[0][0])[1:] == iw.abc_shift(*mup, 0)[1:]


X = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32) / 8**0.5
TARGETS = np.sign(X[:, :1] * X[:, 1:2])


def train(abc, width, steps, key=0, eta=0.3, place=lambda params, x: (params, x)):
    """Outputs and last features after steps on the one batch."""
    net, optimizer = iw.abc_mlp(*abc, jnp.tanh), iw.abc_sgd(eta, abc.c, width)
    params = net.init(jax.random.key(key), width=width, inputs=8, outputs=1)
    params, x = place(params, jnp.asarray(X))

    def loss(params):
        return jnp.mean((net.apply(params, x) - TARGETS) ** 2) / 2

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, updates)
        return params, state, net.apply(params, x), net.taps(params, x).activations[-1]

    state, path = optimizer.init(params), []
    for _ in range(steps):
        params, state, *values = step(params, state)
        path.append(values)
    return path, step.lower(params, state)


@pytest.mark.parametrize("theta", [0.37, (0.37, -0.2, 0.11)])
def test_shifted_exponents_train_the_same_network(theta):
    mup = iw.abc_parametrization("mup", depth=2)
    ours, shifted = (train(abc, 32, 5)[0] for abc in (mup, iw.abc_shift(*mup, theta)))
    for pair in zip(ours, shifted, strict=True):
        for a, b in zip(*pair, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(a).max()))


def test_eight_devices_train_the_same_network_and_gather_no_weights(mesh2x4):
    def place(params, x):
        params = jax.device_put(params, iw.abc_shardings(params, mesh=mesh2x4))
        return params, jax.device_put(x, NamedSharding(mesh2x4, P("data")))

    mup = iw.abc_parametrization("mup", depth=2)
    (one, _), (eight, lowered) = train(mup, 48, 3), train(mup, 48, 3, place=place)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, eight)
    gathers = [line for line in lowered.compile().as_text().splitlines() if " all-gather(" in line]
    assert not any("f32[48,48]" in line for line in gathers)
    shapes = (jnp.ones((8, 6)), jnp.ones((6, 1)))
    assert [s.spec for s in iw.abc_shardings(shapes, mesh=mesh2x4)] == [P(None, None), P(None, None)]


def test_taps_hold_what_the_layers_compute():
    net = iw.abc_mlp(*QUARTER, jnp.tanh)
    params = net.init(jax.random.key(0), width=16, inputs=8, outputs=2)
    h, x = net.taps(params, jnp.asarray(X))
    np.testing.assert_allclose(h[0], X @ np.asarray(params[0]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(h[1], 16**-0.5 * np.asarray(x[0]) @ np.asarray(params[1]), rtol=1e-4, atol=1e-5)
    f = 16**-0.75 * np.asarray(x[1]) @ np.asarray(params[2])
    np.testing.assert_allclose(net.apply(params, jnp.asarray(X)), f, rtol=1e-4, atol=1e-5)


def test_the_kernel_of_a_wide_standard_network_lacks_the_first_layer():
    """(1/n) NTK of erf networks of width 4096, mean of 2, against E x x' + E phi' phi' E x^1 x^1': 5 %."""
    n, abc = 4096, iw.abc_parametrization("sp_scaled_rate", depth=2)
    net = iw.abc_mlp(*abc, jax.scipy.special.erf)
    x = jnp.array([[1.0, 0.5, -0.3], [0.2, -0.8, 0.9]])

    def kernel(key):
        params = net.init(key, width=n, inputs=3, outputs=1)
        outputs = lambda p: net.apply(p, x)[:, 0]
        _, pull = jax.vjp(outputs, params)
        return jnp.stack([jax.jvp(outputs, (params,), pull(row))[1] / n for row in jnp.eye(2)])

    run = jax.jit(kernel)
    measured = np.mean([run(jax.random.key(i)) for i in range(2)], 0)

    def dual(k):
        scale = np.outer(1 + 2 * np.diag(k), 1 + 2 * np.diag(k))
        return 2 / np.pi * np.arcsin(2 * k / np.sqrt(scale)), 4 / np.pi / np.sqrt(scale - 4 * k**2)

    first, _ = dual(np.asarray(x @ x.T))
    second, slopes = dual(first)
    np.testing.assert_allclose(measured, second + slopes * first, atol=0.05 * second.max())


def test_rates_follow_schedules_and_layers():
    grads = (jnp.ones(2), jnp.ones(2))
    transform = iw.abc_sgd(optax.linear_schedule(1.0, 0.0, 2), (F(-1, 2), 1), 4)
    state = transform.init(grads)
    for rate in (1.0, 0.5):
        updates, state = transform.update(grads, state)
        np.testing.assert_allclose([u[0] for u in updates], [-2 * rate, -rate / 4], rtol=1e-6)
    one = iw.abc_sgd(0.5, F(-1, 2), 4)
    np.testing.assert_allclose(one.update(grads, one.init(grads))[0][1], -1, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: iw.abc_classify((0,), (0,), 0), ValueError, "a must be of at least two layers"),
        (lambda: iw.abc_classify((0, 0), (0,), 0), ValueError, "b must be one exponent for each of 2 layers"),
        (lambda: iw.abc_classify((0, 0), (0, 0), (0, 0, 0)), ValueError, "c must be one exponent"),
        (lambda: iw.abc_classify((0, float("nan")), (0, 0), 0), ValueError, "a must be finite"),
        (lambda: iw.abc_classify((0, 0), (0, "1/2"), 0), TypeError, "b must hold real numbers"),
        (lambda: iw.abc_parametrization("mu", depth=2), ValueError, "name must be one of"),
        (lambda: iw.abc_parametrization("mfp", depth=2), ValueError, "depth must be 1"),
        (lambda: iw.abc_parametrization("mup", depth=0), ValueError, "depth"),
        (lambda: iw.abc_shift((0, 0), (0, 0), 0, (1, 2, 3)), ValueError, "theta"),
        (lambda: iw.abc_sgd(0.1, 0, 0), ValueError, "width"),
        (
            lambda: iw.abc_mlp(*QUARTER, jnp.tanh).init(jax.random.key(0), width=0, inputs=1, outputs=1),
            ValueError,
            "width",
        ),
        (lambda: iw.abc_mlp(*QUARTER, jnp.tanh).apply((jnp.ones((2, 2)),), jnp.ones((1, 2))), ValueError, "params"),
        (
            lambda: iw.abc_mlp(*QUARTER, jnp.tanh).apply((jnp.ones((2, 2)),) * 3, jnp.ones((1, 3))),
            ValueError,
            "x must be an array of shape",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_mesh_axes_are_named(mesh8):
    with pytest.raises(ValueError, match="axis must be an axis of the mesh"):
        iw.abc_shardings((jnp.ones((2, 8)), jnp.ones((8, 1))), mesh=mesh8)
