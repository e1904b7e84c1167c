"""First-order MAML of linear networks with one hidden layer, without a copy of the weights for each task.

Adaptation moves U by outer products of the task's inputs, so hidden values at the inputs X of support and query are
all that is needed: with H = X U^T + alpha b, K = X X^T + alpha^2 and chi = d loss / d f on the support s,

    H <- H - eta K[:, s] chi V,      V <- V - eta chi^T H_s,      c <- c - eta sum chi,

and the gradient of U, summed over tasks, is one product (n, t q) (t q, d). Equal to `maml_step` on the whole
parameters; exact, for the limit and at any width.

Derived from Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, section 8.2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.infinite_width.limits.linear import LinearNet
from jaxlib_methods.infinite_width.meta_learning.maml import Loss, MamlState, Tasks, check_tasks
from jaxlib_methods.numerics.checks import require_array

__all__ = ["linear_maml_predict", "linear_maml_step"]


class _Adapted(NamedTuple):
    """One task's hidden values on support and query, and what of the parameters has moved."""

    hidden: Float[Array, "m n"]
    outer: Float[Array, "o n"]
    output_bias: Float[Array, " o"] | None


def linear_maml_predict(
    loss: Loss,
    params: LinearNet,
    tasks: Tasks,
    *,
    inner_rate: Float[ArrayLike, ""],
    inner_steps: int = 1,
    bias_alpha: Float[ArrayLike, ""] = 1.0,
) -> Float[Array, "t q o"]:
    """Outputs on the query of each task after adaptation: `maml_predict` of `linear_net_apply`.

    Args:
      loss: `loss(outputs, y)`, a number.
      params: of any width, the limit's too.
      tasks: with inputs that are rows.
      inner_rate: eta.
      inner_steps: of gradient descent.
      bias_alpha: weight alpha of the hidden bias.

    Raises:
      ValueError: as `maml_predict`, or if inputs have another width than the network's.

    Cost: 2 m n d a task of m examples, then O(m n (m + o)) a step. Memory: O(n (m + o)) a task.

    >>> from jaxlib_methods.infinite_width import linear_limit_init
    >>> x, y = jnp.ones((4, 1, 2)), jnp.ones((4, 1, 1))
    >>> error = lambda f, y: jnp.sum((f - y) ** 2) / 2
    >>> linear_maml_predict(error, linear_limit_init(2, 1), Tasks(x, y, x, y), inner_rate=0.1).shape
    (4, 1, 1)
    """
    adapted = _adapt(loss, params, tasks, inner_rate, inner_steps, bias_alpha)
    return jax.vmap(lambda a: _outputs(a)[tasks.support_x.shape[1] :])(adapted)


def linear_maml_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: MamlState,
    tasks: Tasks,
    *,
    inner_rate: Float[ArrayLike, ""],
    inner_steps: int = 1,
    bias_alpha: Float[ArrayLike, ""] = 1.0,
) -> tuple[MamlState, Float[Array, "t q o"]]:
    """One step of the outer optimiser and the outputs before it: `maml_step` of `linear_net_apply`.

    Args:
      loss: `loss(outputs, y)`, a number.
      optimizer: of the sum over tasks.
      state: from `maml_init` of a `LinearNet`, or the step before.
      tasks: with inputs that are rows.
      inner_rate: eta.
      inner_steps: of gradient descent.
      bias_alpha: weight alpha of the hidden bias.

    Raises:
      ValueError: as `linear_maml_predict`.

    Cost: 2 (m + q) n d a task, and as `linear_maml_predict`. Memory: O(n (m + o)) a task.

    >>> from jaxlib_methods.infinite_width import linear_limit_init, maml_init
    >>> x, y = jnp.ones((4, 1, 2)), jnp.ones((4, 1, 1))
    >>> error, outer = lambda f, y: jnp.sum((f - y) ** 2) / 2, optax.sgd(0.1)
    >>> start = maml_init(linear_limit_init(2, 1), outer)
    >>> linear_maml_step(error, outer, start, Tasks(x, y, x, y), inner_rate=0.1)[1].shape
    (4, 1, 1)
    """
    params: Any = state.params
    adapted = _adapt(loss, params, tasks, inner_rate, inner_steps, bias_alpha)
    query = adapted._replace(hidden=adapted.hidden[:, tasks.support_x.shape[1] :])
    outputs = jax.vmap(_outputs)(query)
    chi = jax.vmap(jax.grad(loss))(outputs, tasks.query_y)
    back = jnp.einsum("tqo,ton->tqn", chi, query.outer)
    alpha = jnp.asarray(bias_alpha, chi.dtype)
    gradient: Any = LinearNet(
        jnp.einsum("tqn,tqd->nd", back, tasks.query_x),
        jnp.einsum("tqo,tqn->on", chi, query.hidden),
        None if params.hidden_bias is None else alpha * jnp.sum(back, (0, 1)),
        None if params.output_bias is None else jnp.sum(chi, (0, 1)),
    )
    updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, params)
    return MamlState(optax.apply_updates(params, updates), optimizer_state), outputs


def _outputs(adapted: _Adapted) -> Array:
    outputs = adapted.hidden @ adapted.outer.T
    return outputs if adapted.output_bias is None else outputs + adapted.output_bias[None]


def _adapt(loss: Loss, params: LinearNet, tasks: Tasks, inner_rate, inner_steps: int, bias_alpha) -> _Adapted:
    check_tasks(tasks, inner_steps)
    require_array("support_x", tasks.support_x, (None, None, params.inner.shape[1]))
    rate = jnp.asarray(inner_rate, params.inner.dtype)
    s = tasks.support_x.shape[1]
    x = jnp.concatenate([tasks.support_x, tasks.query_x], 1)
    hidden = x @ params.inner.T
    kernel = jnp.einsum("tmd,tsd->tms", x, tasks.support_x)
    if params.hidden_bias is not None:
        alpha = jnp.asarray(bias_alpha, x.dtype)
        hidden, kernel = hidden + (alpha * params.hidden_bias)[None, None], kernel + alpha**2

    def one(hidden: Array, kernel: Array, y: Array) -> _Adapted:
        def descend(a: _Adapted, _: None) -> tuple[_Adapted, None]:
            chi = jax.grad(loss)(_outputs(a)[:s], y)
            bias = None if a.output_bias is None else a.output_bias - rate * jnp.sum(chi, 0)
            moved = a.hidden - rate * kernel @ (chi @ a.outer)
            return _Adapted(moved, a.outer - rate * chi.T @ a.hidden[:s], bias), None

        return jax.lax.scan(descend, _Adapted(hidden, params.outer, params.output_bias), length=inner_steps)[0]

    return jax.vmap(one)(hidden, kernel, tasks.support_y)
