"""MAML of whole parameters, of linear networks and of kernels, against each other and against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods import infinite_width as iw

pytestmark = pytest.mark.usefixtures("x64")

_rng = np.random.default_rng(0)
LABELS = np.tile(np.arange(3), (8, 1))
TASKS = iw.Tasks(_rng.normal(size=(8, 3, 6)), LABELS, _rng.normal(size=(8, 3, 6)), LABELS)
OUTER = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.4))
INNER = dict(inner_rate=0.3, inner_steps=2)


def loss(f, y):
    return optax.softmax_cross_entropy_with_integer_labels(f, y).mean()


def apply(params, x):
    return iw.linear_net_apply(params, x, bias_alpha=1.5)


def limit(**options):
    return iw.linear_limit_init(6, 3, 0.9, 0.4, hidden_bias=True, dtype="float64", **options)


def assert_same(actual, expected):
    for ours, truth in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-9, atol=1e-11)


general = jax.jit(lambda state, tasks: iw.maml_step(apply, loss, OUTER, state, tasks, **INNER))
linear = jax.jit(lambda state, tasks: iw.linear_maml_step(loss, OUTER, state, tasks, **INNER, bias_alpha=1.5))


def test_a_step_sums_the_gradients_of_tasks_then_clips():
    params = limit()
    total = jax.tree.map(jnp.zeros_like, params)
    gradient = jax.jit(jax.grad(lambda p, x, y: loss(apply(p, x), y)))
    for i in range(8):
        adapted = params
        for _ in range(2):
            slope = gradient(adapted, TASKS.support_x[i], TASKS.support_y[i])
            adapted = jax.tree.map(lambda p, g: p - 0.3 * g, adapted, slope)
        total = jax.tree.map(jnp.add, total, gradient(adapted, TASKS.query_x[i], TASKS.query_y[i]))
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(total)))
    assert norm > 0.5
    state, outputs = general(iw.maml_init(params, OUTER), TASKS)
    assert_same(state.params, jax.tree.map(lambda p, g: p - 0.4 * 0.5 / norm * g, params, total))
    assert_same(outputs, iw.maml_predict(apply, loss, params, TASKS, **INNER))


def test_the_form_without_copies_of_weights_is_the_general_one():
    params = limit(output_bias=True)
    ours, theirs = iw.maml_init(params, OUTER), iw.maml_init(params, OUTER)
    for _ in range(2):
        (ours, values), (theirs, expected) = linear(ours, TASKS), general(theirs, TASKS)
        assert_same(values, expected)
    assert_same(ours.params, theirs.params)
    many = dict(inner_rate=0.3, inner_steps=20)
    predicted = iw.linear_maml_predict(loss, ours.params, TASKS, **many, bias_alpha=1.5)
    assert_same(predicted, iw.maml_predict(apply, loss, theirs.params, TASKS, **many))


def test_the_limit_takes_the_step_that_wide_networks_take_on_average():
    """64 networks of width 4096; three standard errors, of the gradient's norm and of values after the clipped step."""

    probe = jnp.asarray(TASKS.query_x[0])

    def after(params):
        norm = lambda p: optax.tree.norm(jax.tree.map(jnp.subtract, p, params))
        step = lambda outer: (
            iw.linear_maml_step(loss, outer, iw.maml_init(params, outer), TASKS, **INNER, bias_alpha=1.5)[0].params
        )
        return norm(step(optax.sgd(1.0))), apply(step(OUTER), probe) - apply(params, probe)

    init = lambda key: iw.linear_net_init(key, 4096, 6, 3, 0.9, 0.4, hidden_bias=True, dtype="float64")
    draw = jax.jit(lambda keys: jax.lax.map(lambda key: after(init(key)), keys))
    for sampled, exact in zip(draw(jax.random.split(jax.random.key(0), 64)), jax.jit(after)(limit()), strict=True):
        assert (np.abs(sampled.mean(0) - exact) < 3 * sampled.std(0, ddof=1) / 8).mean() > 0.95


def test_tasks_split_over_devices_give_the_same(mesh8):
    state = iw.maml_init(limit(), OUTER)
    split = jax.tree.map(lambda a: jax.device_put(a, NamedSharding(mesh8, P("data"))), TASKS)
    for step in (general, linear):
        assert_same(step(state, split), step(state, TASKS))
        assert "all-gather" not in step.lower(state, split).compile().as_text()


def test_a_linear_kernel_is_softmax_regression():
    kernel = lambda x, y: iw.one_hidden_layer_kernel(x, y, sb=0.0, kind="gp", activation="linear")
    state, regression = iw.kernel_maml_init(48, 6, 3, dtype="float64"), iw.maml_init(jnp.zeros((6, 3)), OUTER)
    kernel_step = jax.jit(lambda state: iw.kernel_maml_step(kernel, loss, state, TASKS, rate=0.4, clip=0.5, **INNER))
    for _ in range(2):
        state, values = kernel_step(state)
        regression, expected = iw.maml_step(lambda w, x: x @ w, loss, OUTER, regression, TASKS, **INNER)
        assert_same(values, expected)
    assert_same(state.anchors.T @ state.coefficients, regression.params)
    x, y = jnp.asarray(TASKS.support_x[0]), jnp.asarray(TASKS.query_x[0])
    doubled = iw.one_hidden_layer_kernel(x, y, sb=0.0, kind="ntk", activation="linear")
    assert_same(doubled, 2 * kernel(x, y))
    overfull = kernel_step(kernel_step(state)[0])[0]
    assert np.isnan(overfull.coefficients).any()


@pytest.mark.parametrize("kind", ["gp", "ntk"])
def test_inner_steps_append_and_are_rolled_back(kind):
    kernel = jax.jit(lambda x, y: iw.one_hidden_layer_kernel(x, y, 0.8, 0.3, 0.7, kind=kind))
    slope = jax.grad(loss)
    slots = np.arange(24).reshape(8, 3)
    step = jax.jit(lambda s, slots: iw.kernel_maml_step(kernel, loss, s, TASKS, slots, rate=0.4, clip=0.5, **INNER))
    state = iw.kernel_maml_init(24, 6, 3, dtype="float64")
    anchors, coefficients = np.zeros((0, 6)), np.zeros((0, 3))
    for _ in range(2):
        state, _ = step(state, slots)
        deltas = []
        for sx, sy, qx, qy in zip(*TASKS, strict=True):
            a, c = anchors, coefficients
            for _ in range(2):
                a, c = np.vstack([a, sx]), np.vstack([c, -0.3 * slope(kernel(sx, a) @ c, sy)])
            deltas.append(slope(kernel(qx, a) @ c, qy))
        delta, rows = np.concatenate(deltas), TASKS.query_x.reshape(-1, 6)
        norm = np.sqrt(np.trace(delta.T @ kernel(rows, rows) @ delta))
        anchors = np.vstack([anchors, rows])
        coefficients = np.vstack([coefficients, -0.4 * delta * min(1, 0.5 / norm)])
    assert_same(kernel(rows, state.anchors) @ state.coefficients, kernel(rows, anchors) @ coefficients)


def test_kernels_are_those_of_wide_networks():
    """One hidden layer of 400,000 ReLU units: five standard errors of the mean over them."""
    x, y = np.array([0.6, -1.1]), np.array([1.3, 0.4])
    draws = np.random.default_rng(1).normal(size=(400_000, 3))
    z = lambda p: 0.8 * draws[:, :2] @ p + 0.3 * draws[:, 2]
    gp = np.maximum(z(x), 0) * np.maximum(z(y), 0)
    ntk = gp + 0.7**2 * (x @ y) * (z(x) > 0) * (z(y) > 0)
    for kind, units in (("gp", gp), ("ntk", ntk)):
        ours = iw.one_hidden_layer_kernel(jnp.asarray(x)[None], jnp.asarray(y)[None], 0.8, 0.3, 0.7, kind=kind)
        assert abs(float(ours[0, 0]) - units.mean()) < 5 * units.std() / len(units) ** 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iw.maml_predict(apply, loss, limit(), TASKS, inner_rate=0.1, inner_steps=-1), "inner_steps"),
        (lambda: general(iw.maml_init(limit(), OUTER), TASKS._replace(support_y=LABELS[:4])), "support_y"),
        (lambda: general(iw.maml_init(limit(), OUTER), TASKS._replace(query_x=np.ones((8, 3, 5)))), "query_x"),
        (lambda: linear(iw.maml_init(iw.linear_limit_init(5, 3), OUTER), TASKS), "support_x"),
        (lambda: iw.one_hidden_layer_kernel(jnp.ones((2, 2)), jnp.ones((2, 2)), kind="nngp"), "kind"),
        (lambda: iw.kernel_maml_init(0, 2, 1), "capacity"),
        (
            lambda: iw.kernel_maml_step(
                lambda x, y: x @ y.T, loss, iw.kernel_maml_init(9, 6, 3), TASKS, rate=1.0, inner_rate=1.0
            ),
            "state.used",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
