"""muP, MAML, word vectors and the particle limit of `jaxlib_methods.infinite_width` beside what does the same work.

    python -m experiments bench feature_learning_infinite_width    # needs the `peers` dependency group

`mup_adam` is timed beside `optax.adam` on the same parameters: muP should cost nothing. A step of MAML of linear nets
is timed beside PyTorch, whose gradients are taken task by task, and beside our own `maml_step` of any function. A step
of word vectors is timed beside PyTorch's sparse embeddings. The particle limit is timed beside a network of as many
units as there are particles, whose time and memory grow with the square of the width.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness.bench_case import Case
from jaxlib_methods.infinite_width import (
    Tasks,
    WordVectors,
    abc_mlp,
    abc_parametrization,
    cbow_step,
    linear_maml_step,
    linear_net_apply,
    linear_net_init,
    maml_init,
    maml_step,
    mup_adam,
    mup_factors,
    particle_limit_init,
    particle_limit_step,
)


def adam(width: int, layers: int):
    shapes = lambda n: {f"layer {l}": (n, n) for l in range(layers)} | {"head": (n, 10)}
    grads = {name: jnp.full(shape, 0.1) for name, shape in shapes(width).items()}

    def step(optimizer):
        state = optimizer.init(grads)
        run = jax.jit(lambda grads, state: optimizer.update(grads, state, grads))
        return lambda: run(grads, state)

    factors = mup_factors(shapes(64), shapes(width))
    return step(mup_adam(1e-3, factors)), step(optax.adam(1e-3))


def cross_entropy(outputs, y):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()


def tasks_of(count: int, inputs: int, ways: int) -> Tasks:
    rng = np.random.default_rng(0)
    x = rng.random((2, count, ways, inputs), np.float32)
    y = jnp.broadcast_to(jnp.arange(ways)[None], (count, ways))
    return Tasks(jnp.asarray(x[0]), y, jnp.asarray(x[1]), y)


def maml(peer: str):
    def build(width: int, tasks: int, inputs: int, ways: int):
        outer = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1))
        state = maml_init(linear_net_init(jax.random.key(0), width, inputs, ways, hidden_bias=True), outer)
        given = tasks_of(tasks, inputs, ways)
        ours = jax.jit(lambda state, given: linear_maml_step(cross_entropy, outer, state, given, inner_rate=0.4))
        if peer == "PyTorch":
            return lambda: ours(state, given), torch_maml(state.params, given)
        whole = jax.jit(
            lambda state, given: maml_step(linear_net_apply, cross_entropy, outer, state, given, inner_rate=0.4)
        )
        return lambda: ours(state, given), lambda: whole(state, given)

    return build


def torch_maml(params, given: Tasks):
    """First-order MAML as it is usually written: for each task an inner step, then the gradient of the query's loss."""
    import torch

    start = [torch.tensor(np.asarray(leaf)) for leaf in params[:3]]
    parts = [torch.tensor(np.asarray(part)) for part in given]

    def loss(weights, x, y):
        inner, outer, bias = weights
        return torch.nn.functional.cross_entropy((x @ inner.T + bias) @ outer.T, y.long())

    def step():
        total = [torch.zeros_like(leaf) for leaf in start]
        for support_x, support_y, query_x, query_y in zip(*parts, strict=True):
            weights = [leaf.clone().requires_grad_() for leaf in start]
            gradients = torch.autograd.grad(loss(weights, support_x, support_y), weights)
            adapted = [(w - 0.4 * g).detach().requires_grad_() for w, g in zip(weights, gradients, strict=True)]
            for t, g in zip(total, torch.autograd.grad(loss(adapted, query_x, query_y), adapted), strict=True):
                t += g
        norm = sum(torch.sum(t**2) for t in total) ** 0.5
        scale = 0.1 * torch.clamp(0.5 / norm, max=1)
        return [leaf - scale * t for leaf, t in zip(start, total, strict=True)]

    return step


def word_vectors(vocabulary: int, width: int, batch: int, window: int, negatives: int):
    import torch

    rng = np.random.default_rng(0)
    context = rng.integers(vocabulary, size=(batch, 2 * window)).astype(np.int32)
    targets = rng.integers(vocabulary, size=(batch, 1 + negatives)).astype(np.int32)
    tables = [rng.standard_normal((vocabulary, width)).astype(np.float32) for _ in range(2)]
    run = jax.jit(cbow_step, donate_argnums=0)
    held = [WordVectors(*map(jnp.asarray, tables))]

    def ours():
        held[0], loss = run(held[0], context, targets, 0.05)
        return loss

    inner, outer = (torch.nn.Embedding.from_pretrained(torch.tensor(t), freeze=False, sparse=True) for t in tables)
    optimiser = torch.optim.SGD([inner.weight, outer.weight], lr=0.05)
    near, words = torch.tensor(context), torch.tensor(targets)
    labels = torch.zeros(batch, 1 + negatives)
    labels[:, 0] = 1

    def theirs():
        optimiser.zero_grad()
        f = torch.einsum("bkn,bn->bk", outer(words), inner(near).mean(1))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(f, labels, reduction="sum")
        loss.backward()
        optimiser.step()
        return loss

    return ours, theirs


def particles(units: int, samples: int):
    """All samples, one a step; ours in particles, the peer in units of a finite network in muP."""
    x = jax.random.normal(jax.random.key(0), (samples, 1, 2))

    @jax.jit
    def limit(key):
        state = particle_limit_init(key, particles=units, inputs=2, outputs=1, depth=2, capacity=samples)
        step = lambda state, x: particle_limit_step(state, x, lambda f: f - 1, 0.5, activation=jnp.tanh)
        return jax.lax.scan(step, state, x)[1]

    net = abc_mlp(*abc_parametrization("mup", depth=2), jnp.tanh)

    @jax.jit
    def finite(key):
        def step(params, x):
            f, pull = jax.vjp(lambda p: net.apply(p, x), params)
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, pull(f - 1)[0]), f

        return jax.lax.scan(step, net.init(key, width=units, inputs=2, outputs=1), x)[1]

    return lambda: limit(jax.random.key(1)), lambda: finite(jax.random.key(1))


def cases() -> Iterator[Case]:
    yield Case("step of Adam in muP", adam, {"width": 1024, "layers": 12}, peer="optax.adam")
    sizes = [{"width": n, "tasks": 32, "inputs": 784, "ways": 5} for n in (512, 2048, 8192)]
    yield Case("MAML of linear nets, one outer step", maml("PyTorch"), sizes, peer="PyTorch, task by task", theory=1.0)
    yield Case("MAML of linear nets beside that of any function", maml("maml_step"), sizes[:2], peer="maml_step")
    words = {"vocabulary": 50_000, "width": 300, "batch": 64, "window": 8, "negatives": 25}
    yield Case("step of word vectors", word_vectors, words, peer="PyTorch, sparse embeddings")
    yield Case(
        "20 steps of a tanh limit",
        particles,
        [{"units": n, "samples": 20} for n in (1000, 4000, 16_000)],
        peer="network of that width",
        theory=1.0,
        peer_bytes=lambda units, samples: 3 * 4 * units**2,
    )
