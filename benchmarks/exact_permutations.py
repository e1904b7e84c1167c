"""Closed forms and ensembles of `jaxlib_methods.infinite_width` beside dense algebra and a loop over PyTorch models.

    python -m experiments bench exact_permutations    # needs the `peers` dependency group; about 2 min on two cores

The closed form gives the means and the variance at every number of ones; the dense solve does the same from the two
kernel matrices, compiled by JAX. The ensembles are of the authors' networks, in standard parametrization and full
batches; PyTorch trains its models one after another with its own optimiser.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.bench_case import Case
from jaxlib_methods.infinite_width import (
    descent_plan,
    ensemble_moments,
    ensemble_size,
    permutation_statistics,
    trained_predictions,
)
from jaxlib_methods.numerics import arc_cosine


def closed_form(length: int):
    m = jnp.arange(1.0, length + 1)
    ours = jax.jit(lambda m: permutation_statistics(length, m))
    return lambda: ours(m), lambda: dense(m)


@jax.jit
def dense(m: jax.Array):
    """Regression by matrices for all inputs together."""
    k = len(m)
    cosines = jnp.where(jnp.arange(k)[None] < m[:, None], 1 / jnp.sqrt(m)[:, None], 0)
    prior = lambda c: arc_cosine(c) / 2
    kernel = lambda c: prior(c) + c * arc_cosine(c, degree=0) / 2
    factor = jax.scipy.linalg.cho_factor(kernel(jnp.eye(k)))
    weights = jax.scipy.linalg.cho_solve(factor, kernel(cosines).T).T
    across = jnp.sum((weights @ prior(jnp.eye(k)) - 2 * prior(cosines)) * weights, 1)
    return weights[:, 0], weights[:, -1], (0.5 + across) / k


def exact_size(length: int):
    """The members of an exact test of all inputs, by bisection; without a peer."""
    size = jax.jit(lambda failure: ensemble_size(length, failure, inputs="all"))
    failure = jnp.float32(0.05)
    return lambda: size(failure), None


def ensemble(members: int, length: int, width: int, tests: int):
    import torch

    plan = descent_plan(length, width, parametrization="standard", tolerance=1e-5)
    rng = np.random.default_rng(0)
    pi, x = rng.permutation(length), np.zeros((tests, length), np.float32)
    for row in x:
        row[rng.choice(length, 2, replace=False)] = 1

    @jax.jit
    def ours(key, pi, x):
        options = dict(width=width, parametrization="standard", **plan._asdict())
        return ensemble_moments(lambda n: trained_predictions(key, n, pi, x, **options), members, chunk=4).mean

    inputs, targets = torch.eye(length), torch.eye(length)[:, np.argsort(pi)]
    at = torch.from_numpy(x / np.sqrt(2, dtype=np.float32))

    def theirs():
        total = torch.zeros(tests, length)
        for _ in range(members):
            hidden, readout = torch.nn.Linear(length, width, False), torch.nn.Linear(width, length, False)
            torch.nn.init.normal_(hidden.weight, std=length**-0.5)
            torch.nn.init.normal_(readout.weight, std=width**-0.5)
            model = torch.nn.Sequential(hidden, torch.nn.ReLU(), readout)
            optimiser = torch.optim.SGD(model.parameters(), lr=plan.learning_rate)
            for _ in range(plan.steps):
                optimiser.zero_grad()
                (torch.sum((model(inputs) - targets) ** 2) / 2).backward()
                optimiser.step()
            with torch.no_grad():
                total += model(at)
        return total / members

    arguments = jax.random.key(0), jnp.asarray(pi), jnp.asarray(x)
    return lambda: ours(*arguments), theirs


def cases() -> Iterator[Case]:
    lengths = [{"length": k} for k in (100, 400, 1600)]
    yield Case("statistics for every number of ones", closed_form, lengths, peer="dense solve")
    yield Case("exact size of an ensemble for all inputs", exact_size, {"length": 30})
    sizes = [{"members": n, "length": 10, "width": 4096, "tests": 45} for n in (8, 16, 32)]
    yield Case("training of an ensemble", ensemble, sizes, peer="PyTorch, one by one", theory=1.0)
