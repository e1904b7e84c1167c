"""First-order MAML: parameters from which a few steps of gradient descent on a task's support fit its query.

    theta_t = theta - eta (sum over inner steps of the gradients on the support of task t),
    g = sum_t grad loss(theta_t; query of t),        theta <- outer optimiser (theta, g).

The gradients of tasks are summed, not averaged, and only then clipped: chain `optax.clip_by_global_norm` before the
outer optimiser. Tasks are mapped; split their leading axis over a mesh axis, and one sum of gradients crosses devices.

Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", 2017, section 5.2 (first order); Yang and Hu, "Feature Learning
in Infinite-Width Neural Networks", 2020, section 8.2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree, Shaped

from jaxlib_methods.numerics.checks import require, require_size

__all__ = ["MamlState", "Tasks", "check_tasks", "maml_init", "maml_predict", "maml_step"]

Apply = Callable[[Any, Array], Array]
Loss = Callable[[Array, Array], Array]


class Tasks(NamedTuple):
    """Few-shot tasks: examples to adapt to, and examples to be right on."""

    support_x: Float[Array, "t s ..."]
    support_y: Shaped[Array, "t s ..."]
    query_x: Float[Array, "t q ..."]
    query_y: Shaped[Array, "t q ..."]


class MamlState(NamedTuple):
    """Parameters of the model, and the state of the outer optimiser."""

    params: PyTree
    optimizer_state: PyTree


def maml_init(params: PyTree, optimizer: optax.GradientTransformation) -> MamlState:
    """The state before the first step.

    >>> maml_init(jnp.zeros((2, 3)), optax.sgd(0.1)).params.shape
    (2, 3)
    """
    return MamlState(params, optimizer.init(params))


def maml_predict(
    apply: Apply, loss: Loss, params: PyTree, tasks: Tasks, *, inner_rate: Float[ArrayLike, ""], inner_steps: int = 1
) -> Float[Array, "t q ..."]:
    """Outputs on the query of each task after adaptation to its support.

    Args:
      apply: `apply(params, x)`, of any model.
      loss: `loss(outputs, y)`, a number: usually a mean over examples.
      params: any pytree.
      tasks: along the first axis.
      inner_rate: eta.
      inner_steps: of gradient descent; 0 for none.

    Raises:
      ValueError: if shapes do not match or `inner_steps` is negative.

    Cost: `inner_steps` gradients a task. Memory: the parameters, for each task.

    >>> x, y = jnp.ones((1, 1, 2)), jnp.ones((1, 1))
    >>> error = lambda f, y: jnp.sum((f - y) ** 2) / 2
    >>> maml_predict(lambda w, x: x @ w, error, jnp.zeros(2), Tasks(x, y, x, y), inner_rate=0.5).tolist()
    [[1.0]]
    """
    check_tasks(tasks, inner_steps)

    def one(task: Tasks) -> Array:
        return apply(_adapt(apply, loss, params, task, inner_rate, inner_steps), task.query_x)

    return jax.vmap(one)(tasks)


def maml_step(
    apply: Apply,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: MamlState,
    tasks: Tasks,
    *,
    inner_rate: Float[ArrayLike, ""],
    inner_steps: int = 1,
) -> tuple[MamlState, Float[Array, "t q ..."]]:
    """One step of the outer optimiser, and the outputs on the queries before it.

    Args:
      apply: as in `maml_predict`.
      loss: as in `maml_predict`.
      optimizer: of the sum over tasks.
      state: from `maml_init` or the step before.
      tasks: along the first axis.
      inner_rate: eta.
      inner_steps: of gradient descent.

    Raises:
      ValueError: as `maml_predict`.

    Cost: `inner_steps` + 1 gradients a task. Memory: twice the parameters, for each task.

    >>> x, y = jnp.ones((1, 1, 2)), jnp.ones((1, 1))
    >>> error = lambda f, y: jnp.sum((f - y) ** 2) / 2
    >>> outer = optax.sgd(1.0)
    >>> start = maml_init(jnp.zeros(2), outer)
    >>> state, _ = maml_step(lambda w, x: x @ w, error, outer, start, Tasks(x, y, x, y), inner_rate=0.25)
    >>> state.params.tolist()
    [0.5, 0.5]
    """
    check_tasks(tasks, inner_steps)

    def one(task: Tasks) -> tuple[PyTree, Array]:
        adapted = _adapt(apply, loss, state.params, task, inner_rate, inner_steps)

        def value(params: PyTree) -> tuple[Array, Array]:
            outputs = apply(params, task.query_x)
            return loss(outputs, task.query_y), outputs

        return jax.grad(value, has_aux=True)(adapted)

    gradients, outputs = jax.vmap(one)(tasks)
    gradient = jax.tree.map(lambda g: jnp.sum(g, 0), gradients)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params)
    return MamlState(optax.apply_updates(state.params, updates), optimizer_state), outputs


def check_tasks(tasks: Tasks, inner_steps: int) -> None:
    """Checks that the parts of tasks fit together.

    Raises:
      ValueError: if they do not, or `inner_steps` is negative.
    """
    require_size("inner_steps", inner_steps, 0)
    shapes = {name: jnp.shape(part) for name, part in tasks._asdict().items()}
    for x, y in (("support_x", "support_y"), ("query_x", "query_y")):
        require(len(shapes[x]) >= 2, x, f"shape {shapes[x]}", "an array (tasks, examples, ...)")
        require(shapes[y][:2] == shapes[x][:2], y, f"shape {shapes[y]}", f"an array {shapes[x][:2]} + (...)")
    same = shapes["query_x"][:1] + shapes["query_x"][2:] == shapes["support_x"][:1] + shapes["support_x"][2:]
    needed = "of as many tasks and of inputs of the same shape as the support"
    require(same, "query_x", f"shape {shapes['query_x']}", needed)


def _adapt(apply, loss, params: PyTree, task: Tasks, rate, steps: int) -> PyTree:
    def descend(params: PyTree, _: None) -> tuple[PyTree, None]:
        gradient = jax.grad(lambda p: loss(apply(p, task.support_x), task.support_y))(params)
        return jax.tree.map(lambda p, g: p - jnp.asarray(rate, p.dtype) * g, params, gradient), None

    return jax.lax.scan(descend, params, length=steps)[0]
