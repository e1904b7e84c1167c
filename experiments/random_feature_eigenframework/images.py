"""Kernel and random-feature regression on real images: curves, ridges and fitting ratios."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, new_figure, sheet
from experiments.random_feature_eigenframework.config import RATIO_NOISES, Config
from experiments.random_feature_eigenframework.simulation import Curves
from jaxlib_methods.generalization import (
    empirical_eigenstructure,
    fit_exponents,
    krr_errors,
    krr_learning_curve,
    krr_path_errors,
    optimal_fitting_ratio,
    pool_corrected,
    power_law_errors,
    rf_curve_errors,
    rf_errors,
)
from jaxlib_methods.numerics import arc_cosine_features, arc_cosine_kernel, gram

STORED_CURVE = {113: 0.472, 405: 0.300, 2000: 0.169}


STORED_KERNEL = {1e-6: 0.3415, 0.1: 0.3518, 1.0: 0.4307, 10.0: 0.6446}


STORED_FEATURES = {(50, 0.03): 0.702, (190, 0.03): 0.691, (2000, 0.03): 0.420, (400, 3.0): 0.573}


class LearningCurve(NamedTuple):
    """kappa and ridgeless test error (draw, size), and exponents with 90 % intervals: alpha, beta."""

    kappas: np.ndarray
    errors: np.ndarray
    exponents: np.ndarray
    intervals: np.ndarray


class Ratios(NamedTuple):
    """Fitting ratio and test error over the noiseless ridgeless one (noise, ridge); the error's scale."""

    ratio: np.ndarray
    error: np.ndarray
    base: float


class Images(NamedTuple):
    """What was measured on real images; curves over the kernel's n and ridge, and over the features' points."""

    curve: LearningCurve
    second_curve: LearningCurve
    kernel: Curves
    features: Curves
    ratios: Ratios


RATIO_RIDGES = (0.0, *np.geomspace(1e-4, 1e3, 22).tolist())


KERNEL_SIZES = (100, 300)


KERNEL_RIDGES = tuple(STORED_KERNEL)


KERNEL_GRID = (*np.geomspace(1e-6, 1e-2, 5).tolist(), 0.1, 0.3, 1.0, 3.0, 10.0)


def real_images(config: Config, context: Context, key) -> Images:
    keys = jax.random.split(key, 6)
    images, targets = pool_of(context, config.dataset, config.pool)
    rows = lambda images: jnp.asarray(images.reshape(len(images), -1))
    x = rows(images)
    kernel = jax.jit(lambda x: gram(arc_cosine_kernel, x, mesh=context.mesh))
    with context.section("learning curves"):
        first, sizes = kernel(x), {"sizes": config.sizes, "tests": len(x) - max(config.sizes), "draws": config.draws}
        curve = learning_curve(context, keys[0], first, targets, **sizes)
        second, second_targets = pool_of(context, config.second_dataset, config.pool)
        second_curve = learning_curve(context, keys[1], kernel(rows(second)), second_targets, **sizes)
    with context.section("eigenstructure"):
        eigen = jax.jit(empirical_eigenstructure)(first, targets)
    with context.section("kernel regression"):
        kernel_curves = kernel_paths(config, keys[2], first, targets, eigen)
    with context.section("random features"):
        features = feature_points(config, context, keys[3], x, targets, eigen)
    with context.section("fitting ratio"):
        parts = {"samples": config.ratio_samples, "tests": len(x) - config.ratio_samples}
        ratios = fitting_ratios(keys[4], first, targets, RATIO_RIDGES, trials=config.ratio_trials, **parts)
    return Images(curve, second_curve, kernel_curves, features, ratios)


def pool_of(context: Context, name: str, count: int, coarser: int = 1) -> tuple[np.ndarray, jax.Array]:
    """The first images, means over squares of pixels, standardised by one mean and one deviation; one-hot labels."""
    data = context.data(name)
    x = np.asarray(data.train_x[:count], float)
    side, channels = x.shape[1], x.shape[3]
    if side % coarser:
        raise ValueError(f"coarser must divide {side}, the side of images of {name}, got {coarser}")
    x = x.reshape(len(x), side // coarser, coarser, side // coarser, coarser, channels).mean((2, 4))
    return (x - x.mean()) / x.std(), jax.nn.one_hot(data.train_y[:count], 10, dtype=jnp.float64)


def draw(key, pool: int, *sizes: int):
    """Disjoint random parts of a pool."""
    if sum(sizes) > pool:
        raise ValueError(f"parts of {sizes} images need a pool of at least {sum(sizes)}, got {pool}")
    return jnp.split(jax.random.permutation(key, pool), np.cumsum(sizes))[: len(sizes)]


def learning_curve(
    context: Context, key, kernel, targets, *, sizes: tuple[int, ...], tests: int, draws: int
) -> LearningCurve:
    @jax.jit
    def draw_one(kernel, targets, key):
        train, test = draw(key, len(kernel), max(sizes), tests)
        parts = kernel[train][:, train], kernel[train][:, test].T, targets[train], targets[test]
        return krr_learning_curve(*parts, sizes=sizes)

    keys = jax.random.split(key, draws)
    curves = [draw_one(kernel, targets, key) for key in context.progress(keys, "learning curves")]
    kappas, errors = (jnp.stack(column) for column in zip(*curves, strict=True))
    fit = jax.jit(fit_exponents)(key, jnp.asarray(sizes, float), kappas, errors)
    intervals = np.stack([fit.alpha_interval, fit.beta_interval])
    return LearningCurve(np.asarray(kappas), np.asarray(errors), np.stack([fit.alpha, fit.beta]), intervals)


def kernel_paths(config: Config, key, kernel, targets, eigen) -> Curves:
    ridges, pool, measured, theory = jnp.asarray(KERNEL_GRID), len(kernel), [], []

    @functools.partial(jax.jit, static_argnames="n")
    def trials(kernel, targets, keys, n):
        def trial(key):
            train, test = draw(key, pool, n, pool - n)
            inside, cross = kernel[train][:, train], kernel[train][:, test].T
            return jnp.stack(krr_path_errors(inside, cross, targets[train], targets[test], ridges))

        return jax.lax.map(trial, keys)

    for n in KERNEL_SIZES:
        keys = jax.random.split(jax.random.fold_in(key, n), config.kernel_trials)
        measured.append(np.moveaxis(np.asarray(trials(kernel, targets, keys, n)), 0, -1))
        test, train = krr_errors(eigen, n, ridges)
        theory.append(np.stack([pool_corrected(test, train, n, pool), train]))
    return Curves(np.stack(measured, axis=2), np.stack(theory, axis=2))


def feature_points(config: Config, context: Context, key, x, targets, eigen) -> Curves:
    """Random ReLU features at n = 200 and the pairs (k, ridge) with a stored value."""
    n, (ks, ridges) = 200, np.array([*STORED_FEATURES]).T
    keys = context.progress(jax.random.split(key, config.feature_trials), "random features")
    errors = feature_trials(x, targets, keys, ridges, ks.astype(int), n=n, tests=config.feature_tests)
    test, train = rf_errors(eigen, n, ks, ridges)
    theory = np.stack([pool_corrected(test, train, n, len(x)), train])[:, None]
    return Curves(np.stack([errors[:, i, i] for i in range(len(ks))], axis=1)[:, None], theory)


def feature_trials(x, targets, keys, ridges, widths, *, n: int, tests: int) -> np.ndarray:
    """Errors (part, ridge, width, trial) of random ReLU features on random parts of a pool, in single precision."""
    x, targets, ridges = (jnp.asarray(a, jnp.float32) for a in (x, targets, ridges))

    @jax.jit
    def trial(x, targets, key):
        keys = jax.random.split(key)
        train, test = draw(keys[0], len(x), n, tests)
        rows = arc_cosine_features(keys[1], x[jnp.concatenate([train, test])], int(max(widths)))
        parts = rows[:n], rows[n:], targets[train], targets[test]
        return jnp.stack(rf_curve_errors(*parts, ridges, jnp.asarray(widths), float64=True))

    errors = np.stack([trial(x, targets, key) for key in keys]).astype(float)
    return np.moveaxis(errors, (0, 3), (3, 1))


def fitting_ratios(key, kernel, targets, ridges, *, samples: int, tests: int, trials: int) -> Ratios:
    ridges = jnp.asarray(ridges)

    @jax.jit
    def trial(kernel, targets, key):
        keys = jax.random.split(key)
        train, test = draw(keys[0], len(kernel), samples, tests)
        inside, cross = kernel[train][:, train], kernel[train][:, test].T
        errors = lambda y: jnp.stack(krr_path_errors(inside, cross, y, targets[test], ridges))
        base = errors(targets[train])[0, 0]
        unit = jax.random.normal(keys[1], (samples, targets.shape[1]), kernel.dtype) / targets.shape[1] ** 0.5
        noises = base * jnp.asarray(RATIO_NOISES)
        test_error, train_error = jnp.moveaxis(
            jax.vmap(lambda noise: errors(targets[train] + jnp.sqrt(noise) * unit))(noises), 1, 0
        )
        return test_error + noises[:, None], train_error, base

    test, train, base = (
        np.mean(part, 0)
        for part in zip(*(trial(kernel, targets, key) for key in jax.random.split(key, trials)), strict=True)
    )
    return Ratios(train / test, test / base, float(base))


def image_claims(config: Config, images: Images | str) -> list[Claim]:
    claim = sheet("reproduction quick 3")
    held = lambda get: images if isinstance(images, str) else get(images)
    near = lambda n: int(np.abs(np.array(config.sizes) - n).argmin())
    stored = [KERNEL_GRID.index(ridge) for ridge in KERNEL_RIDGES]
    ratio = lambda curves: curves.measured.mean(-1) / curves.theory
    at_300 = KERNEL_SIZES.index(300)
    small = [KERNEL_GRID.index(ridge) for ridge in (0.1, 1e-6)]
    return [
        claim(
            Claim.close,
            "mnist-exponents",
            "The ReLU kernel on 3,000 MNIST images has exponents alpha 1.55 and beta 1.38.",
            expected=[1.55, 1.38],
            measured=held(lambda images: images.curve.exponents),
            tolerance=0.08,
        ),
        claim(
            Claim.close,
            "mnist-curve",
            "Its ridgeless test error at n = 113, 405 and 2000 is as stored.",
            expected=[*STORED_CURVE.values()],
            measured=held(lambda images: images.curve.errors.mean(0)[[near(n) for n in STORED_CURVE]]),
            relative=0.05,
        ),
        claim(
            Claim.close,
            "mnist-kernel-theory",
            "Predicted errors at n = 300 and ridges 1e-6, 0.1, 1 and 10 are as stored.",
            expected=[*STORED_KERNEL.values()],
            measured=held(lambda images: images.kernel.theory[0, stored, at_300]),
            relative=1e-3,
        ),
        claim(
            Claim.between,
            "mnist-kernel-simulation",
            "Measured test errors at n = 100 and 300 are within 5 % of the predicted ones, at all ridges.",
            low=0.95,
            high=1.05,
            measured=held(lambda images: ratio(images.kernel)[0]),
        ),
        claim(
            Claim.ordering,
            "mnist-interpolation-is-not-best",
            "As beta < alpha, interpolation is not optimal: at n = 100 ridge 0.1 beats ridge 1e-6.",
            expected="increasing",
            measured=held(lambda images: images.kernel.measured[0, small, KERNEL_SIZES.index(100)].mean(-1)),
        ),
        claim(
            Claim.close,
            "mnist-features-theory",
            "Predicted errors of random ReLU features at n = 200 are as stored.",
            expected=[*STORED_FEATURES.values()],
            measured=held(lambda images: images.features.theory[0, 0]),
            relative=1e-3,
        ),
        claim(
            Claim.between,
            "mnist-features-simulation",
            "Measured test errors of random ReLU features are within 5 % of the predicted ones.",
            low=0.95,
            high=1.05,
            measured=held(lambda images: ratio(images.features)[0, 0]),
        ),
    ]


def learning_figure(sizes: tuple[int, ...], curves: dict[str, LearningCurve]):
    figure, (left, right) = new_figure("samples n", "", log=True, panels=2)
    for i, (name, curve) in enumerate(curves.items()):
        (alpha, beta), intervals = curve.exponents, curve.intervals
        for ax, values, slope, word, value, interval in (
            (left, curve.kappas, -alpha, "α", alpha, intervals[0]),
            (right, curve.errors, 1 - beta, "β", beta, intervals[1]),
        ):
            mean = np.exp(np.log(values).mean(0))
            label = f"{name}: {word} = {value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
            ax.plot(sizes, mean, "o", color=f"C{i}", label=label)
            anchor = np.exp(np.log(mean).mean() - slope * np.log(sizes).mean())
            ax.plot(sizes, anchor * np.array(sizes) ** slope, color=f"C{i}")
    left.set_title("κ = 1 / tr K⁻¹")
    right.set_title("ridgeless test error")
    for ax in (left, right):
        low, high = ax.get_ylim()
        ax.set_ylim(low * (low / high) ** (0.1 * len(curves)), high)  # room for the legend
        ax.legend(loc="lower left")
    return figure


def ridge_figure(config: Config, curves: Curves):
    figure, axes = new_figure("ridge δ", "error", log="x", panels=len(KERNEL_SIZES))
    for j, (ax, n) in enumerate(zip(axes, KERNEL_SIZES, strict=True)):
        for part, name in enumerate(("test", "train")):
            measured = curves.measured[part, :, j]
            ax.errorbar(
                KERNEL_GRID, measured.mean(-1), measured.std(-1), fmt="o", color=f"C{part}", capsize=2, label=name
            )
            ax.plot(KERNEL_GRID, curves.theory[part, :, j], color=f"C{part}", label=f"{name}, predicted")
        ax.set_title(f"{config.dataset}, n = {n}")
    axes[0].legend()
    return figure


def ratio_figure(dataset: str, samples: int, curve: LearningCurve, ratios: Ratios):
    """Error against fitting ratio, relative to each noise's error at the best measured ridge."""
    figure, axes = new_figure(
        "fitting ratio R = train error / test error", "test error / least", panels=len(RATIO_NOISES)
    )
    alpha, beta = curve.exponents
    grid = np.linspace(0, 0.98, 200)
    for ax, noise, ratio, error in zip(axes, RATIO_NOISES, ratios.ratio, ratios.error, strict=True):
        theory, _ = power_law_errors(alpha, beta, samples, noise, grid)
        best = float(optimal_fitting_ratio(alpha, beta, noise))
        ax.plot(ratio, error / error.min(), "o", label="measured")
        ax.plot(grid, theory / theory.min(), label="power law, theorem 2")
        ax.axvline(best, ls="--", color="C6", label=f"best R = {best:.2f}")
        ax.set_title(f"{dataset}, noise {noise:g}")
        ax.set_ylim(0.95, 2.2)
        ax.legend()
    return figure
