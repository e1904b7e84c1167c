"""Random features, their read-outs and sweeps beside scikit-learn.

python -m experiments bench bandlimited_random_features    # about 4 minutes on two cores
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.numerics import fast_cos, kernel_ridge_path, normal_equations, normal_equations_solve
from jaxlib_methods.random_features import hidden_features, sample_hidden, sweep_bandwidth


def cases() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Each case is (name, ours, peer, sizes)."""
    from sklearn.kernel_approximation import RBFSampler
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    rows, dim, units, outputs, ridge = 60_000, 784, 4096, 10, 1e-3
    x = (rng.standard_normal((rows, dim)) / np.sqrt(dim)).astype(np.float32)
    y = rng.standard_normal((rows, outputs)).astype(np.float32)
    hidden = sample_hidden(jax.random.key(0), units, dim, law="gaussian", lam=1.0, beta=np.pi)

    @jax.jit
    def fit(x, y):
        features = lambda rows: jnp.sqrt(2 / units) * hidden_features(hidden, rows, fast_cos)
        return normal_equations_solve(normal_equations(features, x, y), ridge, solver="cholesky")

    def sklearn_fit():
        z = RBFSampler(gamma=0.5, n_components=units, random_state=0).fit_transform(x)
        return Ridge(ridge, fit_intercept=False).fit(z, y).coef_

    ours_x, ours_y = jnp.asarray(x), jnp.asarray(y)
    sizes = {"rows": rows, "dim": dim, "features": units, "outputs": outputs}
    yield "feature map and ridge fit, peer: RBFSampler + Ridge", lambda: fit(ours_x, ours_y), sklearn_fit, sizes

    points, width, seeds = 1000, 400, 5
    grid = np.linspace(0, 1, points)[:, None]
    target = np.sin(40 * grid[:, 0])
    lams = np.geomspace(1, 800, 16)
    line, values = jnp.asarray(grid, jnp.float32), jnp.asarray(target, jnp.float32)

    @jax.jit
    def sweep(lams):
        key = jax.random.key(0)
        return sweep_bandwidth(key, line, values, line, values, lams, jnp.tanh, widths=(width,), seeds=seeds)

    def sklearn_sweep():
        errors = []
        for lam in lams:
            for seed in range(seeds):
                draw = np.random.default_rng(seed)
                a, b = draw.uniform(-lam, lam, width), draw.uniform(-lam, lam, width)
                h = np.tanh(grid * a - b).astype(np.float32)
                fitted = Ridge(1e-6 * (h**2).sum() / width, fit_intercept=False).fit(h, target.astype(np.float32))
                errors.append(np.sqrt(np.mean((fitted.predict(h) - target) ** 2)))
        return np.array(errors)

    ours_lams = jnp.asarray(lams, jnp.float32)
    sizes = {"bandwidths": len(lams), "seeds": seeds, "points": points, "features": width}
    yield "bandwidth sweep in one call, peer: Ridge fit by fit", lambda: sweep(ours_lams)[0], sklearn_sweep, sizes

    count = 2000
    few, few_y, ridges = x[:count], y[:count], np.geomspace(1e-3, 1e2, 10)

    @jax.jit
    def path(x, y, ridges):
        square = jnp.sum(x**2, 1)
        gap = square[:, None] + square[None] - 2 * jnp.einsum("nd,md->nm", x, x, precision="highest")
        return kernel_ridge_path(jnp.exp(-gap / 2), y, ridges)

    def sklearn_path():
        fits = [KernelRidge(alpha=ridge, kernel="rbf", gamma=0.5).fit(few, few_y).dual_coef_ for ridge in ridges]
        return np.array(fits)

    ours = jnp.asarray(few), jnp.asarray(few_y), jnp.asarray(ridges, jnp.float32)
    sizes = {"rows": count, "dim": dim, "ridges": len(ridges)}
    yield "kernel ridge path with leave-one-out, peer: KernelRidge a ridge", lambda: path(*ours), sklearn_path, sizes
