"""The eigenframework and kernel ridge paths of `jaxlib_methods` beside what people use today.

    python -m experiments bench random_feature_eigenframework    # needs the `peers` dependency group

The peer of the solver is the published method, a bisection in log kappa around a bisection in log gamma, 200 steps
each, compiled. It is timed at a few points; a grid takes it proportionally longer, 4,000 points a thousand times as
long as four.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.bench_case import Case
from jaxlib_methods.generalization import Eigenstructure, optimal_ridge, rf_errors
from jaxlib_methods.numerics import arc_cosine_kernel, gram, krylov_ridge_path, predict_path

RIDGES = np.geomspace(1e-2, 1e2, 10)


def cases() -> Iterator[Case]:
    """The solver, the optimal ridge and ridge paths."""
    few = [{"points": points, "modes": 10_000} for points in (1, 2, 4)]
    yield Case("eigenframework, few points", against_bisection, few, peer="nested bisection, 200 x 200", theory=1.0)
    modes = [{"points": 4_000, "modes": m} for m in (2_500, 5_000, 10_000)]
    yield Case("eigenframework, a grid", alone, modes, theory=1.0)
    yield Case(
        "optimal ridge, a grid", best_alone, [{"points": 100, "modes": m} for m in (2_500, 5_000, 10_000)], theory=1.0
    )
    images = [{"images": n, "ridges": len(RIDGES)} for n in (2_500, 5_000, 10_000)]
    yield Case("kernel ridge, ten ridges", against_scikit_learn, images, peer="KernelRidge, a fit a ridge", theory=2.0)


def grid(points: int):
    """n, k and ridge at random points of the usual ranges."""
    rng = np.random.default_rng(0)
    n, k, ridge = (10 ** rng.uniform(low, high, points) for low, high in ((1, 3.5), (1, 5), (-4, 2)))
    return n, k, ridge


def spectrum(modes: int) -> Eigenstructure:
    index = np.arange(1.0, modes + 1)
    return Eigenstructure(index**-1.5, index**-1.3)


def in_double(function):
    """The function, compiled and run in double precision."""
    compiled = jax.jit(function)

    def call(*arguments):
        with jax.enable_x64(True):
            return compiled(*arguments)

    return call


def alone(points: int, modes: int):
    """Test and train errors on a grid."""
    eigen, where, solve = spectrum(modes), grid(points), in_double(rf_errors)
    return lambda: solve(eigen, *where, 0.3), None


def best_alone(points: int, modes: int):
    """Optimal ridges on a grid."""
    eigen, (n, k, _), solve = spectrum(modes), grid(points), in_double(optimal_ridge)
    return lambda: solve(eigen, n, k, 0.3), None


def against_bisection(points: int, modes: int):
    """Test and train errors beside the published method."""
    eigen, where = spectrum(modes), grid(points)
    solve, bisect = in_double(rf_errors), in_double(nested_bisection)
    return lambda: solve(eigen, *where, 0.3), lambda: bisect(eigen, *where, 0.3)


def nested_bisection(eigen, n, k, ridge, noise):
    """Test and train errors at points given as arrays, one after the other."""
    lam, v2 = eigen.lam, eigen.v2

    def bisect(too_small, low=-60.0, high=20.0):
        def halve(_, ends):
            middle = (ends[0] + ends[1]) / 2
            small = too_small(jnp.exp(middle))
            return jnp.where(small, middle, ends[0]), jnp.where(small, ends[1], middle)

        ends = jax.lax.fori_loop(0, 200, halve, (jnp.asarray(low, lam.dtype), jnp.asarray(high, lam.dtype)))
        return jnp.exp((ends[0] + ends[1]) / 2)

    def point(arguments):
        n, k, ridge = arguments
        z = lambda gamma: jnp.sum(lam / (lam + gamma))
        gamma_of = lambda kappa: bisect(lambda gamma: z(gamma) + k * kappa / gamma > k)
        kappa = bisect(lambda kappa: z(gamma_of(kappa)) + ridge / kappa > n)
        gamma = gamma_of(kappa)
        q, learned = jnp.sum((lam / (lam + gamma)) ** 2), z(gamma)
        bias = jnp.sum((gamma / (lam + gamma) - kappa * lam / (lam + gamma) ** 2 * k / (k - q)) * v2)
        test = (bias + noise) / (1 - (q * (k - 2 * learned) + learned**2) / (n * (k - q)))
        return test, (ridge / (n * kappa)) ** 2 * test

    return jax.lax.map(point, (n, k, ridge))


def against_scikit_learn(images: int, ridges: int):
    """Predictions for 1,000 test images at every ridge from given kernel matrices, in double precision.

    Ours are solved to a relative residual of 1e-6, the peer's by Cholesky.
    """
    from sklearn.kernel_ridge import KernelRidge

    from jaxlib_methods.runtime import load

    data = load("mnist")
    rows = np.concatenate([data.train_x[:images], data.test_x[:1000]]).reshape(images + 1000, -1).astype(float)
    rows = (rows - rows.mean()) / rows.std()
    labels = np.concatenate([data.train_y[:images], data.test_y[:1000]])
    y = np.eye(10)[labels]
    with jax.enable_x64(True):
        matrix = np.asarray(jax.jit(lambda x: gram(arc_cosine_kernel, x))(rows))
    kernel, cross = np.ascontiguousarray(matrix[:images, :images]), np.ascontiguousarray(matrix[images:, :images])

    @in_double
    def ours(kernel, cross, y):
        path = krylov_ridge_path(lambda v: kernel @ v, y, RIDGES[:ridges], tolerance=1e-6)
        return predict_path(cross, path.coefficients), path.residual

    def theirs():
        fits = (KernelRidge(alpha=r, kernel="precomputed").fit(kernel, y[:images]) for r in RIDGES[:ridges])
        return np.array([fit.predict(cross) for fit in fits])

    placed = in_double(lambda *arrays: arrays)(kernel, cross, y[:images])
    return lambda: ours(*placed), theirs
