"""Oracles: a hand-written optax loop, the full batch, closed forms, one device against eight, the compiled text."""

import contextlib
import math
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.runtime import Checkpointer, Interrupted, catch_sigterm, make_train_step, train_init
from jaxlib_methods.runtime.train import train

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 4)).astype(np.float32), RNG.normal(size=(64, 1)).astype(np.float32)


def params():
    return {
        "hidden": jax.random.normal(jax.random.key(1), (4, 16)),
        "out": jax.random.normal(jax.random.key(2), (16, 1)),
    }


def batch(step):
    rows = np.random.default_rng(step).integers(0, 64, 32)
    return X[rows], Y[rows]


def regression(params, batch, key):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["hidden"]) @ params["out"] - y) ** 2)


def noisy_regression(params, batch, key):
    x, y = batch
    value = regression(params, (x + 0.1 * jax.random.normal(key, x.shape), y), key)
    return value, {"double": 2 * value}


def adam():
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 3, 20))
    )


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_near(a, b, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-6), a, b)


class Lines(list):
    def __call__(self, step, **values):
        self.append({"step": step, **values})


def test_training_equals_a_handwritten_loop_bit_for_bit():
    weights, optimizer, lines = params(), adam(), Lines()
    moments, losses = optimizer.init(weights), []

    @jax.jit
    def step(weights, moments, batch, key):
        (_, aux), grads = jax.value_and_grad(noisy_regression, has_aux=True)(weights, batch, key)
        updates, moments = optimizer.update(grads, moments, weights)
        return optax.apply_updates(weights, updates), moments, aux["double"]

    for i in range(20):
        weights, moments, double = step(weights, moments, batch(i), jax.random.fold_in(KEY, i))
        losses.append(float(double) / 2)
    state = train(noisy_regression, params(), batch, optimizer, key=KEY, steps=20, log=lines, log_every=1)
    assert_same(state.params, weights)
    assert_same(state.optimizer_state, moments)
    assert [line["loss"] for line in lines] == losses
    assert [line["step"] for line in lines] == list(range(1, 21))


@pytest.mark.parametrize("accumulate", [2, 4, 32])
def test_accumulated_gradients_equal_the_full_batch(accumulate):
    run = lambda k: train(regression, params(), batch, adam(), key=KEY, steps=20, accumulate=k)
    assert_near(run(accumulate).params, run(1).params)


def test_micro_batches_are_strides_with_keys_of_their_own():
    def loss(w, rows, key):
        return w * jnp.sum(rows) * 0, {"first": rows[0], "draw": jax.random.normal(key)}

    step = make_train_step(loss, optax.sgd(0.1), accumulate=3)
    _, metrics = step(train_init(jnp.ones(()), optax.sgd(0.1), ema=False), jnp.arange(12.0), KEY)
    assert metrics["first"] == (0 + 1 + 2) / 3
    draws = [jax.random.normal(jax.random.fold_in(KEY, j)) for j in range(3)]
    np.testing.assert_allclose(metrics["draw"], np.mean(draws), rtol=1e-6)


def test_half_precision_gradients_are_summed_in_single():
    """1 + 255 * 2^-9 = 1.498; summed in bfloat16, each small term would be lost and the sum stay 1."""
    rows = jnp.full(256, 2.0**-9, jnp.bfloat16).at[0].set(1)
    loss = lambda w, rows, key: jnp.sum(w * rows)
    optimizer = optax.sgd(-256.0)
    step = make_train_step(loss, optimizer, accumulate=256)
    state, _ = step(train_init(jnp.zeros((), jnp.bfloat16), optimizer, ema=False), rows, KEY)
    assert state.params.dtype == jnp.bfloat16
    np.testing.assert_allclose(float(state.params), 1 + 255 / 512, rtol=2**-7)


@pytest.mark.parametrize("decay", [0.0, 0.9, lambda step: jnp.minimum(0.99, (1 + step) / (10 + step))])
def test_averages_follow_their_recursion_along_a_known_path(decay):
    """The loss -w moves w by 0.5 a step: w_t = t / 2."""
    expected = 0.0
    for t in range(10):
        d = float(decay(t)) if callable(decay) else decay
        expected = d * expected + (1 - d) * (t + 1) / 2
    loss = lambda w, x, key: -w * jnp.mean(x)
    state = train(loss, jnp.zeros(()), lambda i: np.ones(2), optax.sgd(0.5), key=KEY, steps=10, ema_decay=decay)
    np.testing.assert_allclose(state.ema, expected, rtol=1e-6)
    np.testing.assert_allclose(state.params, 5.0)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("shape", ["mesh8", "mesh2x4"])
def test_many_devices_equal_one(shape, accumulate, request):
    mesh = request.getfixturevalue(shape)
    run = lambda mesh: train(
        noisy_regression, params(), batch, adam(), key=KEY, steps=20, accumulate=accumulate, ema_decay=0.9, mesh=mesh
    )
    many = run(mesh)
    assert_near(many, run(None))
    assert all(leaf.sharding.is_fully_replicated and leaf.sharding.num_devices == 8 for leaf in jax.tree.leaves(many))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_compiled_step_reduces_gradients_and_gathers_nothing(mesh8, accumulate):
    step = make_train_step(regression, adam(), accumulate=accumulate, ema_decay=0.9)
    state = jax.device_put(train_init(params(), adam(), ema=True), NamedSharding(mesh8, P()))
    rows = jax.device_put(batch(0), NamedSharding(mesh8, P("data")))
    text = jax.jit(step).lower(state, rows, KEY).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text
    assert "all-to-all" not in text


def test_simulated_devices_survive_many_steps_without_a_log(mesh8):
    """Queued without a bound, the all-reduces of this many steps starve each other of threads for ever."""
    rows, loss = np.ones((16, 8), np.float32), lambda w, x, key: jnp.mean((x @ w) ** 2)
    start = jnp.ones((8, 8))
    state = train(loss, start, lambda i: rows, optax.sgd(1e-3), key=KEY, steps=1000, mesh=mesh8, log_every=10**6)
    assert state.step == 1000


def test_parameters_given_in_shards_keep_them_and_so_do_moments_and_averages(mesh2x4):
    split = NamedSharding(mesh2x4, P(None, "model"))
    start = params() | {"hidden": jax.device_put(params()["hidden"], split)}
    run = lambda start, mesh: train(
        regression, start, batch, optax.adam(1e-2), key=KEY, steps=5, ema_decay=0.9, mesh=mesh
    )
    state = run(start, mesh2x4)
    for tree in (state.params, state.ema, state.optimizer_state[0].mu, state.optimizer_state[0].nu):
        assert tree["hidden"].sharding == split
    assert_near(state, run(params(), None))


def test_the_step_is_compiled_once_and_the_given_parameters_survive():
    traces = []
    loss = lambda p, b, k: traces.append(1) or regression(p, b, k)
    given = params()
    train(loss, given, batch, adam(), key=KEY, steps=5, ema_decay=0.9)
    assert len(traces) == 1
    assert_same(given, params())


def test_optimizers_that_hold_the_parameters_can_be_donated():
    optimizer = optax.GradientTransformation(lambda p: p, lambda g, s, p: (jax.tree.map(jnp.subtract, s, p), p))
    train(regression, params(), batch, optimizer, key=KEY, steps=2, ema_decay=0.5)


def test_evaluations_come_after_the_named_steps_and_see_their_state():
    lines = Lines()
    evaluate = lambda state: {"at": state.step, "w": state.params["out"][0, 0]}
    state = train(
        regression,
        params(),
        batch,
        adam(),
        key=KEY,
        steps=6,
        evaluate=evaluate,
        evaluate_at=(0, 3, 6),
        log=lines,
        log_every=4,
    )
    evaluations = [line for line in lines if "at" in line]
    assert [(line["step"], line["at"]) for line in evaluations] == [(0, 0.0), (3, 3.0), (6, 6.0)]
    assert evaluations[0]["w"] == float(params()["out"][0, 0])
    assert evaluations[2]["w"] == float(state.params["out"][0, 0])
    assert [line["step"] for line in lines if "loss" in line] == [4, 6]
    assert all(type(value) is float for line in lines for name, value in line.items() if name != "step")


def test_metrics_are_fetched_after_the_next_step_was_started():
    order = []
    log = lambda step, **values: order.append(f"log {step}")
    train(
        regression,
        params(),
        lambda i: order.append(f"batch {i}") or batch(i),
        adam(),
        key=KEY,
        steps=4,
        log=log,
        log_every=2,
    )
    assert order == ["batch 0", "batch 1", "batch 2", "log 2", "batch 3", "log 4"]


def test_progress_wraps_the_steps_that_are_left(tmp_path):
    seen = []

    def progress(iterable, total, label):
        seen.append((list(iterable), total, label))
        return seen[-1][0]

    options = dict(key=KEY, progress=progress)
    with Checkpointer(tmp_path) as checkpointer:
        train(regression, params(), batch, adam(), steps=2, checkpointer=checkpointer, **options)
        train(regression, params(), batch, adam(), steps=5, checkpointer=checkpointer, **options)
    assert seen == [([0, 1], 2, "train"), ([2, 3, 4], 3, "train")]


@pytest.mark.parametrize("log_every", [1, 7])
def test_a_diverging_run_stops_and_leaves_the_last_good_checkpoint(tmp_path, log_every):
    """The batch of step 13 holds infinity; the checkpoint of step 10 is the last one before it."""
    bad = lambda i: (X * (np.inf if i == 13 else 1.0), Y)
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(FloatingPointError, match=r"the loss is nan at step 1[45]"):
            train(
                regression,
                params(),
                bad,
                adam(),
                key=KEY,
                steps=40,
                checkpointer=checkpointer,
                checkpoint_every=5,
                log_every=log_every,
            )
        step, state = checkpointer.restore(train_init(params(), adam(), ema=False))
    assert step == 10
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_parameters_that_turned_nan_are_not_saved(tmp_path):
    """sqrt(|w|) is finite at 0, its gradient is not."""
    loss = lambda w, x, key: jnp.sqrt(jnp.abs(w)) * jnp.mean(x)
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(FloatingPointError, match="parameters are NaN after step 1"):
            train(
                loss, jnp.zeros(()), lambda i: np.ones(2), optax.sgd(0.0), key=KEY, steps=1, checkpointer=checkpointer
            )
        assert checkpointer.restore({"any": jnp.ones(1)}) is None


@pytest.mark.parametrize("split", [1, 7, 10, 19])
def test_a_run_in_two_parts_equals_one_run_and_logs_the_same(tmp_path, split):
    evaluate = lambda state: {"norm": optax.tree.norm(state.params)}
    options = dict(key=KEY, ema_decay=0.9, accumulate=2, evaluate=evaluate, log_every=3)
    whole_log, parts_log, starts = Lines(), Lines(), []
    whole = train(noisy_regression, params(), batch, adam(), steps=20, evaluate_at=(0, 7, 20), log=whole_log, **options)
    stop = iter([False] * (split - 1) + [True])
    for interrupted in (lambda: next(stop), None):
        with Checkpointer(tmp_path) as checkpointer:
            options |= dict(checkpointer=checkpointer, log=parts_log, interrupted=interrupted, on_start=starts.append)
            with pytest.raises(Interrupted, match=f"after step {split}") if interrupted else contextlib.nullcontext():
                parts = train(noisy_regression, params(), batch, adam(), steps=20, evaluate_at=(0, 7, 20), **options)
    assert starts == [None, split]
    assert [line["step"] for line in whole_log] == [0, 3, 6, 7, 9, 12, 15, 18, 20, 20]
    assert_same(parts, whole)
    assert parts_log == whole_log


def test_a_finished_run_is_only_read_back(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        first = train(regression, params(), batch, adam(), key=KEY, steps=3, checkpointer=checkpointer)
        again = train(regression, params(), pytest.fail, adam(), key=KEY, steps=3, checkpointer=checkpointer)
        assert_same(first, again)
        with pytest.raises(ValueError, match="steps must be at least the 3 steps already taken, got 2"):
            train(regression, params(), batch, adam(), key=KEY, steps=2, checkpointer=checkpointer)


def test_a_run_moves_from_one_mesh_to_another(tmp_path, mesh8, mesh2x4):
    whole = train(regression, params(), batch, adam(), key=KEY, steps=9)
    for mesh, steps in ((mesh8, 3), (mesh2x4, 6), (None, 9)):
        with Checkpointer(tmp_path) as checkpointer:
            state = train(
                regression, params(), batch, adam(), key=KEY, steps=steps, mesh=mesh, checkpointer=checkpointer
            )
    assert_near(state, whole)


def test_interruption_without_a_checkpointer_still_stops():
    with pytest.raises(Interrupted, match="after step 1"):
        train(regression, params(), batch, adam(), key=KEY, steps=5, interrupted=lambda: True)


def test_sigterm_raises_the_flag_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with catch_sigterm() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(steps=-1), "steps must be an integer, at least 0, got -1"),
        (dict(steps=2.5), "steps must be an integer"),
        (dict(accumulate=0), "accumulate must be"),
        (dict(accumulate=5), r"the batch must be arrays with a multiple of 5 rows, got an array of shape \(32, 4\)"),
        (dict(ema_decay=1.0), r"ema_decay must be in \[0, 1\), got 1.0"),
        (dict(ema_decay=math.nan), "ema_decay must be"),
        (dict(log_every=0), "log_every must be"),
        (dict(checkpoint_every=2), "checkpointer must be given with checkpoint_every"),
        (dict(checkpoint_every=0), "checkpoint_every must be"),
        (dict(evaluate_at=(1,)), "evaluate must be given with evaluate_at"),
        (dict(evaluate_at=(9,), evaluate=dict), "evaluate_at must be an integer, between 0 and 4, got 9"),
        (dict(evaluate_at=(-1,), evaluate=dict), "evaluate_at must be"),
        (dict(loss=lambda p, b, k: (regression(p, b, k), {"loss": 0.0})), "without the names 'loss' and 'step'"),
    ],
)
def test_bad_arguments_are_named(change, message):
    options = dict(loss=regression, params=params(), batch=batch, optimizer=adam(), key=KEY, steps=4) | change
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_a_batch_that_does_not_divide_over_the_mesh_is_named(mesh8):
    short = lambda i: (X[:12], Y[:12])
    with pytest.raises(ValueError, match="multiple of 8 rows"):
        train(regression, params(), short, adam(), key=KEY, steps=1, mesh=mesh8)
    with pytest.raises(ValueError, match="axis must be one of 'data', got 'rows'"):
        train(regression, params(), batch, adam(), key=KEY, steps=1, mesh=mesh8, axis="rows")
    with pytest.raises(ValueError, match="multiple of 64 rows"):
        train(regression, params(), batch, adam(), key=KEY, steps=1, mesh=mesh8, accumulate=8)


def test_a_step_and_a_state_that_disagree_on_averages_are_an_error():
    state = train_init(params(), adam(), ema=True)
    with pytest.raises(ValueError, match=r"state\.ema and ema_decay"):
        make_train_step(regression, adam())(state, batch(0), KEY)
