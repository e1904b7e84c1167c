"""One training loop: jitted steps, accumulated gradients, averaged weights, evaluations, checkpoints, resumption.

    g_t = (1/k) sum_j grad loss(theta_t, rows j::k of batch t, key)       k = accumulate
    theta_{t+1} = theta_t + optimizer(g_t),      ema_{t+1} = d_t ema_t + (1 - d_t) theta_{t+1}

Step t draws its randomness from `fold_in(key, t)` and its data from `batch(t)`, so the state is all that a run needs
to go on: killed anywhere and resumed, it ends in the same bits as if nothing had happened.
"""

import contextlib
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int32, Key, PyTree

from jaxlib_methods.numerics.checks import require, require_choice, require_size
from jaxlib_methods.runtime.checkpoint import Checkpointer
from jaxlib_methods.runtime.mesh import replicate, shard_rows
from jaxlib_methods.runtime.preemption import StopAgreement

__all__ = ["Interrupted", "TrainState", "catch_sigterm", "make_train_step", "train", "train_init"]

Loss = Callable[[PyTree, PyTree, Key[Array, ""]], Any]
Decay = float | Callable[[Int32[Array, ""]], ArrayLike]
Step = Callable[["TrainState", PyTree, Key[Array, ""]], tuple["TrainState", dict[str, Float[Array, ""]]]]


class TrainState(NamedTuple):
    """All that training carries from step to step."""

    step: Int32[Array, ""]  # number of steps taken
    params: PyTree
    optimizer_state: PyTree
    ema: PyTree | None  # like params


class Interrupted(Exception):
    """Training was asked to stop; it did so after `step`, which is saved if there is a checkpointer."""

    def __init__(self, step: int):
        """Keeps the number of steps taken."""
        super().__init__(f"interrupted after step {step}")
        self.step = step


def train_init(params: PyTree, optimizer: optax.GradientTransformation, *, ema: bool) -> TrainState:
    """Returns the state before the first step; it shares no buffer with `params`, so that it can be donated.

    Args:
      params: pytree of floating arrays.
      optimizer: an optax transformation; schedules live in it.
      ema: whether to carry averaged weights, which start as a copy of `params`.

    >>> train_init({"w": jnp.ones(3)}, optax.sgd(0.1), ema=False).step
    Array(0, dtype=int32)
    """
    trees = params, optimizer.init(params), params if ema else None
    return TrainState(jnp.zeros((), jnp.int32), *jax.tree.map(jnp.copy, trees))


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, *, accumulate: int = 1, ema_decay: Decay | None = None
) -> Step:
    """Builds the pure function `step(state, batch, key) -> (state, metrics)`; not jitted.

    Args:
      loss: `loss(params, batch, key)` returns a scalar, the mean over the batch's rows, or `(scalar, dict of scalars)`.
      optimizer: an optax transformation.
      accumulate: the number k of micro-batches whose gradients are averaged, in at least float32. Micro-batch j holds
        rows j::k and key `fold_in(key, j)`, so a batch that is split over devices stays where it is; one with k = 1
        keeps the step's key. Activation memory falls by k.
      ema_decay: d, a number in [0, 1) or a function of the number of steps taken before this one, which is traced.

    Returns:
      The step. Its metrics are `loss` and the dict's entries, averaged over micro-batches.

    Raises:
      ValueError: for a bad `accumulate` or `ema_decay`; while tracing, if the batch's rows do not divide by
        `accumulate`, the dict has an entry `loss` or `step`, or the state has averages and the step does not, or
        the other way round.

    >>> step = make_train_step(lambda w, x, key: jnp.mean((x - w) ** 2), optax.sgd(0.5))
    >>> state, metrics = step(train_init(jnp.zeros(()), optax.sgd(0.5), ema=False), jnp.ones(4), jax.random.key(0))
    >>> float(state.params), float(metrics["loss"])
    (1.0, 1.0)
    """
    require_size("accumulate", accumulate)
    if ema_decay is not None and not callable(ema_decay):
        require(0 <= ema_decay < 1, "ema_decay", ema_decay, "in [0, 1)")

    def loss_and_metrics(params, batch, key):
        out = loss(params, batch, key)
        value, extra = out if isinstance(out, tuple) else (out, {})
        clash = {"loss", "step"} & set(extra)
        require(not clash, "the loss's dict", f"{sorted(clash)}", "without the names 'loss' and 'step'")
        return value, {"loss": value, **extra}

    gradient = jax.grad(loss_and_metrics, has_aux=True)

    def mean_gradient(params, batch, key):
        if accumulate == 1:
            return gradient(params, batch, key)
        batches = jax.tree.map(lambda x: _strides(x, accumulate), batch)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(accumulate))
        shapes = jax.eval_shape(gradient, params, jax.tree.map(lambda x: x[0], batches), keys[0])
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.promote_types(s.dtype, jnp.float32)), shapes)

        def add(total, item):
            return jax.tree.map(jnp.add, total, gradient(params, *item)), None

        total, _ = jax.lax.scan(add, zeros, (batches, keys))
        grads, metrics = jax.tree.map(lambda t: t / accumulate, total)
        return jax.tree.map(lambda g, s: g.astype(s.dtype), grads, shapes[0]), metrics

    def average(ema, params, step):
        if (ema is None) != (ema_decay is None):
            raise ValueError("state.ema and ema_decay must both be given or both be None")
        if ema_decay is None:
            return None
        decay = ema_decay(step) if callable(ema_decay) else ema_decay
        return jax.tree.map(lambda e, p: (e + (1 - decay) * (p - e)).astype(e.dtype), ema, params)

    def step(state, batch, key):
        grads, metrics = mean_gradient(state.params, batch, key)
        updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = average(state.ema, params, state.step)
        return TrainState(state.step + 1, params, optimizer_state, ema), metrics

    return step


def train(
    loss: Loss,
    params: PyTree,
    batch: Callable[[int], PyTree],
    optimizer: optax.GradientTransformation,
    *,
    key: Key[Array, ""],
    steps: int,
    accumulate: int = 1,
    ema_decay: Decay | None = None,
    mesh: Mesh | None = None,
    axis: str = "data",
    evaluate: Callable[[TrainState], Mapping[str, Any]] | None = None,
    evaluate_at: Collection[int] = (),
    log: Callable[..., None] | None = None,
    log_every: int = 100,
    checkpointer: Checkpointer | None = None,
    checkpoint_every: int | None = None,
    on_start: Callable[[int | None], None] | None = None,
    progress: Callable[[Iterable[int], int, str], Iterable[int]] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> TrainState:
    """Takes `steps` steps from `params`, or what is left of them from the checkpointer's newest valid step.

    Whatever is logged up to step s is logged before the checkpoint of step s is written: a record of a later step than
    the one resumed from will be made again, with the same values.

    Args:
      loss, optimizer, accumulate, ema_decay: as in `make_train_step`.
      params: pytree of floating arrays; left alone. With a mesh, arrays that lie on all its devices keep their
        sharding, others are copied to every device, and the optimizer's and averaged arrays follow them.
      batch: `batch(i)` is the pytree of arrays with a leading row axis for step i = 0, 1, ...; a pure function.
      key: typed key; step i uses `fold_in(key, i)`.
      steps: total number of steps, at least 0.
      mesh, axis: the batch's rows are split over this axis of the mesh; None trains on one device.
      evaluate: `evaluate(state)` returns numbers to log; called after the steps in `evaluate_at` (0: at the start).
      log: receives `log(step, **numbers)`, Python floats. Metrics of the step are given every `log_every` steps and at
        the last, fetched while the next step runs. Two steps at most are under way, so the host never runs far ahead.
      checkpointer: saves every `checkpoint_every` steps, at the end, and when interrupted.
      on_start: receives the step resumed from, None at a fresh start, before anything is logged.
      progress: `progress(iterable, total, label)` returns the iterable, for instance with a progress bar.
      interrupted: polled after each step; when true the state is saved and `Interrupted` raised. See `catch_sigterm`.

    Returns:
      The state after `steps` steps.

    Raises:
      ValueError: naming the argument; also if the batch's rows do not divide by accumulate times the axis' size.
      FloatingPointError: if a fetched loss is not finite or parameters to be saved are NaN; earlier checkpoints remain.
      CheckpointError: as in `Checkpointer`.
      Interrupted: as said above.

    >>> loss = lambda w, x, key: jnp.mean((x - w) ** 2)
    >>> state = train(loss, jnp.zeros(()), lambda i: np.ones(4), optax.sgd(0.5), key=jax.random.key(0), steps=3)
    >>> int(state.step), float(state.params)
    (3, 1.0)
    """
    require_size("steps", steps, 0)
    require_size("log_every", log_every)
    if checkpoint_every is not None:
        require_size("checkpoint_every", checkpoint_every)
        require(checkpointer is not None, "checkpointer", checkpointer, "given with checkpoint_every")
    for step in evaluate_at:
        require_size("evaluate_at", step, 0, steps)
        require(evaluate is not None, "evaluate", evaluate, "given with evaluate_at")
    if mesh is not None:
        require_choice("axis", axis, mesh.axis_names)
    evaluate = (lambda state: {}) if evaluate is None else evaluate
    log = (lambda step, **numbers: None) if log is None else log

    take_step = make_train_step(loss, optimizer, accumulate=accumulate, ema_decay=ema_decay)
    state = train_init(params, optimizer, ema=ema_decay is not None)
    shardings = None
    if mesh is not None:
        state, key = _on_mesh(state, mesh), replicate(key, mesh)
        shardings = jax.tree.map(lambda x: x.sharding, state), None
    take_step = jax.jit(_with_step_key(take_step), donate_argnums=0, out_shardings=shardings)

    found = checkpointer.restore(state) if checkpointer is not None else None
    start, state = found or (0, state)
    require(start <= steps, "steps", steps, f"at least the {start} steps already taken")
    if on_start is not None:
        on_start(start if found else None)
    if start == 0 and 0 in evaluate_at:
        log(0, **_numbers(evaluate(state)))

    previous, pending = None, None
    todo = range(start, steps)
    for i in todo if progress is None else progress(todo, len(todo), "train"):
        state, metrics = take_step(state, _place_batch(batch(i), accumulate, mesh, axis), key)
        jax.block_until_ready(previous)  # many queued steps would deadlock simulated devices
        if pending:
            log(pending[0], **_finite(*pending))
        step, previous, pending = i + 1, metrics, None
        stop = interrupted is not None and interrupted()
        pause = stop or step % (checkpoint_every or steps) == 0 or step == steps
        if step % log_every == 0 or step == steps:
            pending = step, metrics
        if pause or step in evaluate_at:
            numbers = _finite(step, metrics)
            if pending:
                log(step, **numbers)
            pending = None
        if step in evaluate_at:
            log(step, **_numbers(evaluate(state)))
        if pause and checkpointer is not None:
            if _any_nan(state.params):
                raise FloatingPointError(f"parameters are NaN after step {step}")
            checkpointer.save(step, state)
            if stop or step == steps:
                checkpointer.wait()
        if stop:
            raise Interrupted(step)
    return state


@contextlib.contextmanager
def catch_sigterm() -> Iterator[Callable[[], bool]]:
    """Turns SIGTERM into a flag to poll, `train(..., interrupted=flag)`; restores the old handler at the end.

    In a job of several processes all of them see the flag rise at the same poll, whichever was signalled; JAX's own
    handler of SIGTERM, which a job has, is no Python function and does not come back. Only the main thread may enter.

    >>> with catch_sigterm() as interrupted:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interrupted()
    True
    """
    agreement = StopAgreement()
    previous = signal.signal(signal.SIGTERM, lambda *_: agreement.ask())
    try:
        yield agreement.poll
    finally:
        signal.signal(signal.SIGTERM, previous)
        agreement.close()


def _with_step_key(take_step):
    return lambda state, batch, key: take_step(state, batch, jax.random.fold_in(key, state.step))


def _on_mesh(state, mesh):
    devices = set(mesh.devices.flat)
    return jax.tree.map(lambda x: x if x.sharding.device_set == devices else replicate(x, mesh), state)


def _place_batch(batch, accumulate, mesh, axis):
    parts = accumulate * (1 if mesh is None else mesh.shape[axis])
    for leaf in jax.tree.leaves(batch):
        fits = np.ndim(leaf) > 0 and np.shape(leaf)[0] % parts == 0
        require(fits, "the batch", f"an array of shape {np.shape(leaf)}", f"arrays with a multiple of {parts} rows")
    return batch if mesh is None else shard_rows(batch, mesh, axis)


def _strides(x, count):
    """Rows 0::count, 1::count, ... stacked: each device's rows stay its own."""
    require(x.shape[0] % count == 0, "the batch's leading size", x.shape[0], f"a multiple of accumulate={count}")
    return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)


def _numbers(values):
    return {name: float(value) for name, value in jax.device_get(dict(values)).items()}


def _finite(step, metrics):
    numbers = _numbers(metrics)
    if not np.isfinite(numbers["loss"]):
        raise FloatingPointError(f"the loss is {numbers['loss']} at step {step}")
    return numbers


@jax.jit
def _any_nan(params):
    return jnp.any(jnp.stack([jnp.any(jnp.isnan(leaf)) for leaf in jax.tree.leaves(params)]))
