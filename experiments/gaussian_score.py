"""Wang and Vastola 2024: at high noise a diffusion model's score is Gaussian, so its first steps need no network.

    python -m experiments run gaussian_score --preset quick    # 2 cores, about 60 s; 10 of 35 evaluations saved

Four parts on real images: how fast the training set's score becomes Gaussian; what a teleported sampler loses on an
exact mixture; the orders of the solvers; and a small network, which learns the Gaussian part first and is teleported.

Errors over random starting points are heavy-tailed, because a few points lie between two modes of the mixture: orders
are means of each point's own slope, mean squares are taken over 10,000 points, and the shifts stated for 500 points are
compared with their range over batches of that size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context, new_figure, new_image_grid
from jaxlib_methods.diffusion import (
    delta_denoise,
    dpm_solver_plan,
    edm_denoiser,
    edm_loss,
    edm_sigmas,
    gaussian_denoise,
    heun_plan,
    log_snr_sigmas,
    mixture_denoise,
    sample,
    teleport,
    unexplained_variance_curve,
    unipc_plan,
)
from jaxlib_methods.nn import mlp_apply, mlp_init, sinusoidal_features
from jaxlib_methods.numerics import (
    fit_gaussian,
    isotropic_gaussian,
    kernel_distance,
    mixture_from_labels,
    sample_frechet_distance,
)

PAPER = "Wang and Vastola, The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models, 2024"

SOLVERS = {
    "dpm-1": lambda sigmas: dpm_solver_plan(sigmas, order=1),
    "heun": heun_plan,
    "dpm-2m": lambda sigmas: dpm_solver_plan(sigmas, order=2),
    "dpm-3m": lambda sigmas: dpm_solver_plan(sigmas, order=3),
    "unipc-1": lambda sigmas: unipc_plan(sigmas, order=1),
    "unipc-2-bh1": lambda sigmas: unipc_plan(sigmas, order=2),
    "unipc-2-bh2": lambda sigmas: unipc_plan(sigmas, order=2, variant="bh2"),
    "unipc-3": lambda sigmas: unipc_plan(sigmas, order=3),
}
SOLVER_NAMES = {
    "dpm-1": "DPM-Solver++(1)",
    "heun": "Heun",
    "dpm-2m": "DPM-Solver++(2M)",
    "dpm-3m": "DPM-Solver++(3M)",
    "unipc-1": "UniPC-1",
    "unipc-2-bh1": "UniPC-2 (bh1)",
    "unipc-2-bh2": "UniPC-2 (bh2)",
    "unipc-3": "UniPC-3",
}


@dataclass(frozen=True)
class Config:
    """Data, and the sizes of the four parts."""

    dataset: str = "digits"
    far_sigmas: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
    steps: int = 18
    skips: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
    points: int = 10_000
    points_per_batch: int = 500
    reference_steps: int = 320
    ridge: float = 0.01
    solver_seeds: int = 128
    solver_steps: tuple[int, ...] = (40, 80, 160, 320)
    solver_reference_steps: int = 2560
    train_steps: int = 1600
    batch_size: int = 256
    width: int = 256
    learning_rate: float = 1e-3
    learn_steps: tuple[int, ...] = (50, 100, 200, 400, 800, 1600)
    learn_sigmas: tuple[float, ...] = (0.2, 1.0, 5.0, 10.0)
    classifier_steps: int = 400
    sample_skips: tuple[int, ...] = (0, 2, 4, 5, 6, 8, 10, 12)
    sample_batches: int = 6


PRESETS = {"quick": Config()}


class FarField(NamedTuple):
    """1 - EV of the training set's score: by its Gaussian, by its mean, and of its mirrored union by its Gaussian."""

    unexplained: np.ndarray
    slopes: np.ndarray


class Teleported(NamedTuple):
    """Mean squares a dimension: of the error (skip,), and of the shift from no skip (skip, batch of points)."""

    error: np.ndarray
    shift: np.ndarray


class Orders(NamedTuple):
    """Root-mean-square errors (solver, steps), geometric mean over seeds, and mean slopes with standard errors."""

    errors: np.ndarray
    slopes: np.ndarray
    slope_errors: np.ndarray
    pooled_slopes: np.ndarray


class Network(NamedTuple):
    """A trained network: EV (step, by Gaussian and by training set, sigma), and its teleported samples."""

    explained: np.ndarray
    classifier_accuracy: float
    frechet: np.ndarray
    kernel: np.ndarray
    frechet_floor: float
    images: np.ndarray


class Result(NamedTuple):
    """What the four parts measured."""

    far_field: FarField
    teleported: Teleported
    orders: Orders
    network: Network


def run(config: Config, context: Context) -> Result:
    shards = 1 if context.mesh is None else context.mesh.shape["data"]
    if config.batch_size % shards:
        raise ValueError(f"batch_size must be a multiple of the mesh's {shards} data shards, got {config.batch_size}")
    images, labels = context.data(config.dataset).all()
    x, labels = images.reshape(len(images), -1), jnp.asarray(labels)
    keys = jax.random.split(context.key, 4)
    with jax.enable_x64(True):
        with context.section("far field"):
            far = far_field(config, context, keys[0], jnp.asarray(x, jnp.float64))
        mixture = mixture_from_labels(jnp.asarray(x, jnp.float64), labels, int(labels.max()) + 1, ridge=config.ridge)
        with context.section("teleportation"):
            teleported = teleportation(config, context, keys[1], jnp.asarray(x, jnp.float64), mixture)
        with context.section("solver orders"):
            orders = solver_orders(config, context, keys[2], mixture)
    network = trained_network(config, context, keys[3], jnp.asarray(x), labels)
    return Result(far, teleported, orders, network._replace(images=network.images.reshape(-1, 16, *images.shape[1:])))


def far_field(config: Config, context: Context, key, x) -> FarField:
    sigmas = jnp.asarray(config.far_sigmas, x.dtype)
    gaussian = fit_gaussian(x, mesh=context.mesh)
    by_gaussian = lambda z, sigma: gaussian_denoise(gaussian, z, sigma)
    by_mean = lambda z, sigma: gaussian_denoise(isotropic_gaussian(gaussian, pooled=False), z, sigma)

    @jax.jit
    def curve(points):
        truth = lambda z, sigma: delta_denoise(points, z, sigma, block=2048, mesh=context.mesh)
        return unexplained_variance_curve(key, truth, [by_gaussian, by_mean], points, sigmas)

    mirrored = curve(jnp.concatenate([x, 2 * gaussian.mean[None] - x]))
    unexplained = np.concatenate([curve(x), mirrored[:1]])
    far = sigmas >= 10
    return FarField(unexplained, np.polyfit(np.log(sigmas[far]), np.log(unexplained[:, far]).T, 1)[0])


def teleportation(config: Config, context: Context, key, x, mixture) -> Teleported:
    gaussian = fit_gaussian(x, mesh=context.mesh)
    gaussian = gaussian._replace(variances=gaussian.variances + config.ridge)
    denoise = lambda z, sigma: mixture_denoise(mixture, z, sigma, block=1)
    solve = jax.jit(lambda z, plan: sample(denoise, z, plan))

    start = start_points(key, (config.points, x.shape[1]), x.dtype)
    ends = []
    for skip in context.progress(config.skips, "skips"):
        moved, tail = teleport(gaussian, start, edm_sigmas(config.steps), skip)
        ends.append(solve(moved, heun_plan(tail)))
    reference = solve(start, unipc_plan(log_snr_sigmas(config.reference_steps), order=3))
    shifts = np.array([jnp.mean((end - ends[0]) ** 2, axis=1) for end in ends])
    return Teleported(
        error=np.array([jnp.mean((end - reference) ** 2) for end in ends]),
        shift=shifts.reshape(len(ends), -1, config.points_per_batch).mean(2),
    )


def start_points(key, shape, dtype):
    return edm_sigmas(1)[0] * jax.random.normal(key, shape, dtype)


def solver_orders(config: Config, context: Context, key, mixture) -> Orders:
    denoise = lambda z, sigma: mixture_denoise(mixture, z, sigma, block=1)
    solve = jax.jit(lambda z, plan: sample(denoise, z, plan))
    start = start_points(key, (config.solver_seeds, mixture.components.mean.shape[1]), mixture.weights.dtype)
    reference = solve(start, unipc_plan(log_snr_sigmas(config.solver_reference_steps), order=3))
    square = lambda plan: np.mean((np.asarray(solve(start, plan)) - np.asarray(reference)) ** 2, axis=1)
    squares = np.array(
        [
            [square(make_plan(log_snr_sigmas(steps))) for steps in config.solver_steps]
            for make_plan in context.progress(SOLVERS.values(), "solvers")
        ]
    )
    slope = lambda errors: np.polyfit(np.log(config.solver_steps), errors, 1)[0]
    slopes = np.stack([slope(0.5 * np.log(s)) for s in squares])
    return Orders(
        errors=np.exp(0.5 * np.log(squares).mean(2)),
        slopes=slopes.mean(1),
        slope_errors=slopes.std(1, ddof=1) / np.sqrt(config.solver_seeds),
        pooled_slopes=np.array([slope(0.5 * np.log(s.mean(1))) for s in squares]),
    )


def trained_network(config: Config, context: Context, key, x, labels) -> Network:
    def network(params, z, noise):
        return mlp_apply(params, jnp.concatenate([z, sinusoidal_features(noise, 32)], axis=1))

    denoise = edm_denoiser(network)
    gaussian = fit_gaussian(x, mesh=context.mesh)
    init_key, probe_key, classifier_key, half_key, sample_key = jax.random.split(key, 5)
    names = [f"{by}_{sigma:g}" for by in ("gaussian", "delta") for sigma in config.learn_sigmas]

    @jax.jit
    def unexplained(params):
        analytic = [
            lambda z, sigma: gaussian_denoise(gaussian, z, sigma),
            lambda z, sigma: delta_denoise(x, z, sigma, block=2048, mesh=context.mesh),
        ]
        learned = lambda z, sigma: denoise(params, z, sigma)
        return unexplained_variance_curve(probe_key, learned, analytic, x, jnp.asarray(config.learn_sigmas), batches=4)

    def evaluate(state):
        values = unexplained(state.ema)
        return dict(zip(names, values.ravel(), strict=True))

    dim, width = x.shape[1], config.width
    state = context.train(
        "network",
        lambda params, batch, key: edm_loss(key, denoise, params, batch),
        mlp_init(init_key, (dim + 32, width, width, width, dim)),
        random_rows(config, np.asarray(x)),
        optax.adam(config.learning_rate),
        steps=config.train_steps,
        ema_decay=lambda step: jnp.minimum(0.999, (1 + step) / (10 + step)),
        evaluate=evaluate,
        evaluate_at=config.learn_steps,
    )
    evaluations = [record for record in context.records("network") if names[0] in record]
    explained = 1 - np.array([[record[name] for name in names] for record in evaluations])
    features, accuracy = classifier_features(config, context, classifier_key, x, labels)
    with context.section("samples"):
        frechet, kernel, images = teleported_samples(
            config, context, sample_key, lambda z, sigma: denoise(state.ema, z, sigma), gaussian, x, features
        )
    halves = np.array_split(features(jax.random.permutation(half_key, x)), 2)
    return Network(
        explained=explained.reshape(len(evaluations), 2, len(config.learn_sigmas)),
        classifier_accuracy=accuracy,
        frechet=frechet,
        kernel=kernel,
        frechet_floor=feature_distances(*halves)[0],
        images=images,
    )


def random_rows(config: Config, arrays):
    """Batches drawn with replacement, a pure function of the step."""

    def batch(step: int):
        rows = np.random.default_rng(step).integers(0, len(jax.tree.leaves(arrays)[0]), config.batch_size)
        return jax.tree.map(lambda a: a[rows], arrays)

    return batch


def classifier_features(config: Config, context: Context, key, x, labels):
    """Penultimate features of a perceptron trained on four fifths of the data, and its accuracy on the rest."""
    test = np.arange(len(x)) % 5 == 0

    def loss(params, batch, key):
        images, classes = batch
        return optax.softmax_cross_entropy_with_integer_labels(mlp_apply(params, images), classes).mean()

    params = context.train(
        "classifier",
        loss,
        mlp_init(key, (x.shape[1], 128, 64, int(labels.max()) + 1)),
        random_rows(config, (np.asarray(x)[~test], np.asarray(labels)[~test])),
        optax.adam(1e-3),
        steps=config.classifier_steps,
    ).params
    accuracy = float(jnp.mean(mlp_apply(params, x[test]).argmax(1) == labels[test]))
    return jax.jit(lambda z: jax.nn.silu(mlp_apply(params[:-1], z))), accuracy


def teleported_samples(config: Config, context: Context, key, denoise, gaussian, x, features):
    """Distances (skip, batch) between real and sampled features, as many samples as images, and some samples."""
    solve = jax.jit(lambda z, plan: sample(denoise, z, plan))
    starts = start_points(key, (config.sample_batches, *x.shape), x.dtype)
    real, measured, shown = features(x), [], []
    for skip in context.progress(config.sample_skips, "samples"):
        jumps = [teleport(gaussian, start, edm_sigmas(config.steps), skip) for start in starts]
        ends = [solve(moved, heun_plan(tail)) for moved, tail in jumps]
        measured.append([feature_distances(real, features(end)) for end in ends])
        shown.append(ends[0][:16])
    values = np.array(measured)
    return values[..., 0], values[..., 1], np.array(shown)


def feature_distances(real, sampled) -> tuple[float, float]:
    """Fréchet and kernel distance in double precision, because the traces of the first nearly cancel."""
    with jax.enable_x64(True):
        pair = jnp.asarray(real, jnp.float64), jnp.asarray(sampled, jnp.float64)
        return float(sample_frechet_distance(*pair)), float(kernel_distance(*pair))


def quality_loss(frechet: np.ndarray) -> np.ndarray:
    """Rise of the mean distance at each skip, in standard deviations of the distance over batches without a skip."""
    return (frechet.mean(1) - frechet[0].mean()) / frechet[0].std(ddof=1)


def saved_share(config: Config, frechet: np.ndarray) -> float:
    """Share of network evaluations saved by the largest skip up to which the loss stays within one deviation."""
    good = np.logical_and.accumulate(quality_loss(frechet) <= 1)
    return 2 * config.sample_skips[good.sum() - 1] / (2 * config.steps - 1)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *far_field_claims(result.far_field),
        *teleportation_claims(config, result.teleported),
        *order_claims(config, result.orders),
        *learning_claims(config, result.network.explained),
        *network_claims(config, result.network),
    ]


def derived(reproduction: str):
    """Makes claims of the sheet's numbers, which were derived and checked numerically."""

    def claim(make: Callable[..., Claim], id: str, statement: str, **judged: Any) -> Claim:
        return make(id, statement, source=f"sheet, reproduction {reproduction}", origin="derived", **judged)

    return claim


def far_field_claims(far: FarField) -> list[Claim]:
    claim = derived("(a)1")
    rows = {
        "gaussian": ("The Gaussian score misses the training set's by a share that falls as sigma^-6.", -6.0, 0.1),
        "mean": ("The mean alone misses it by a share that falls as sigma^-4.", -4.0, 0.05),
        "mirrored": ("For a cloud symmetric about its mean, the Gaussian's share falls as sigma^-8.", -8.0, 0.1),
    }
    return [
        claim(
            Claim.close, f"far-field-{name}", statement, expected=expected, measured=float(slope), tolerance=tolerance
        )
        for (name, (statement, expected, tolerance)), slope in zip(rows.items(), far.slopes, strict=True)
    ]


def teleportation_claims(config: Config, teleported: Teleported) -> list[Claim]:
    claim = derived("(a)2")
    ratio = dict(zip(config.skips, teleported.error / teleported.error[0], strict=True))
    shift = dict(zip(config.skips, teleported.shift, strict=True))
    harmless = "On an exact mixture, skipping up to 6 of 18 Heun steps raises the squared error by at most 5 %."
    least = "On the mixture the error is least at 5 to 7 skipped steps."
    knee = "On the mixture the error at {} skipped steps is at least {} times that of no skip."
    moved = (
        "Skipping {} steps moves end points by a mean square of {:g}: within a factor 2 of the range over 20 batches."
    )
    return [
        claim(
            Claim.at_most, "teleport-harmless", harmless, expected=1.05, measured=max(ratio[skip] for skip in range(7))
        ),
        claim(Claim.between, "teleport-best-skip", least, low=5, high=7, measured=min(ratio, key=ratio.__getitem__)),
        claim(Claim.at_least, "teleport-knee", knee.format(8, 1.5), expected=1.5, measured=ratio[8]),
        claim(Claim.at_least, "teleport-too-far", knee.format(12, 30), expected=30, measured=ratio[12]),
        *[
            claim(
                Claim.ordering,
                f"teleport-shift-{skip}",
                moved.format(skip, value),
                expected=["half the least", "stated", "twice the largest"],
                measured={
                    "half the least": shift[skip].min() / 2,
                    "stated": value,
                    "twice the largest": shift[skip].max() * 2,
                },
            )
            for skip, value in {2: 3.7e-10, 4: 2.3e-8, 6: 2.2e-6, 8: 1.2e-3}.items()
        ],
    ]


def order_claims(config: Config, orders: Orders) -> list[Claim]:
    claim = derived("(a)3")
    order = dict(zip(SOLVERS, -orders.slopes, strict=True))
    statement = "On the mixture, {} converges with order {}."
    stated = {"dpm-1": (1.0, 0.15), "heun": (2.0, 0.15), "dpm-2m": (1.9, 0.15), "unipc-1": (1.9, 0.15)}
    stated |= {"unipc-2-bh1": (2.9, 0.3), "unipc-2-bh2": (2.9, 0.3)}
    floors = {"dpm-3m": 2.1, "unipc-3": 3.5}
    error = orders.errors[list(SOLVERS).index("unipc-3"), config.solver_steps.index(160)]
    return [
        *[
            claim(
                Claim.close,
                f"order-{name}",
                statement.format(SOLVER_NAMES[name], value),
                expected=value,
                measured=order[name],
                tolerance=tolerance,
            )
            for name, (value, tolerance) in stated.items()
        ],
        *[
            claim(
                Claim.at_least,
                f"order-{name}",
                statement.format(SOLVER_NAMES[name], f"{value} or more"),
                expected=value,
                measured=order[name],
            )
            for name, value in floors.items()
        ],
        claim(
            Claim.at_most,
            "unipc-3-error",
            "The error of UniPC-3 with 160 steps is below 1e-5.",
            expected=1e-5,
            measured=error,
        ),
    ]


def learning_claims(config: Config, explained: np.ndarray) -> list[Claim]:
    claim = derived("(a)4")
    steps, sigmas = np.array(config.learn_steps), np.array(config.learn_sigmas)
    step = {int(value): i for i, value in enumerate(steps)}
    mid = explained[:, :, config.learn_sigmas.index(1.0)]
    low = explained[:, :, config.learn_sigmas.index(0.2)]
    peak = "At sigma 1 the share of the network's score that the Gaussian explains peaks at .98."
    declines = "At sigma 1 the share that the Gaussian explains is below .97, give or take .02, at step 1600."
    rises = "At sigma 1 the share that the training set explains rises from step 50 on without a break."
    delta = "At sigma 0.2 the training set still explains less than .1 at step 800."
    both = "From sigma 5 on the Gaussian and the training set explain more than .999 from step 50 on."
    return [
        claim(Claim.close, "learning-peak", peak, expected=0.98, measured=mid[:, 0].max(), tolerance=0.02),
        claim(
            Claim.between,
            "learning-peak-step",
            "At sigma 1 the share that the Gaussian explains peaks between steps 200 and 800.",
            low=200,
            high=800,
            measured=steps[mid[:, 0].argmax()],
        ),
        claim(Claim.at_most, "learning-declines", declines, expected=0.99, measured=mid[step[1600], 0]),
        claim(Claim.ordering, "learning-delta-rises", rises, expected="increasing", measured=mid[:, 1]),
        claim(
            Claim.close,
            "learning-delta-values",
            "At sigma 1 the training set explains .856 at step 50 and .945 at step 1600.",
            expected=[0.856, 0.945],
            measured=mid[[step[50], step[1600]], 1],
            tolerance=0.02,
        ),
        claim(
            Claim.close,
            "learning-low-noise-peak",
            "At sigma 0.2 the Gaussian explains .84 at step 800.",
            expected=0.84,
            measured=low[step[800], 0],
            tolerance=0.02,
        ),
        claim(
            Claim.ordering,
            "learning-low-noise-falls",
            "At sigma 0.2 the share that the Gaussian explains falls after step 800.",
            expected="decreasing",
            measured=low[[step[800], step[1600]], 0],
        ),
        claim(Claim.at_most, "learning-low-noise-delta", delta, expected=0.1, measured=low[step[800], 1]),
        claim(Claim.at_least, "learning-high-noise", both, expected=0.999, measured=explained[:, :, sigmas >= 5].min()),
    ]


def network_claims(config: Config, network: Network) -> list[Claim]:
    quality = "its feature Fréchet distance rises by less than its standard deviation over batches of samples"
    return [
        Claim.at_least(
            "network-evaluations-saved",
            f"Teleportation saves 15 to 30 % of a trained network's evaluations at equal quality: {quality}.",
            source="abstract",
            origin="paper",
            expected=0.15,
            measured=saved_share(config, network.frechet),
        ),
        Claim.at_most(
            "network-five-skips",
            f"Skipping 5 of 18 Heun steps (10 of 35 evaluations) keeps the quality: {quality}.",
            source="sheet, headline results: the shape of the CIFAR-10 table",
            origin="derived",
            expected=1.0,
            measured=quality_loss(network.frechet)[config.sample_skips.index(5)],
        ),
    ]


def figures(config: Config, result: Result):
    yield "far_field", far_field_figure(config, result.far_field)
    yield "teleportation", teleportation_figure(config, result)
    yield "solver_orders", order_figure(config, result.orders)
    yield "learning_order", learning_figure(config, result.network.explained)
    shown = [config.sample_skips.index(skip) for skip in (0, 5, 8, 12)]
    rows = {f"{config.sample_skips[i]} of {config.steps} steps skipped": result.network.images[i] for i in shown}
    yield "samples", new_image_grid(rows)


def far_field_figure(config: Config, far: FarField):
    figure, axes = new_figure("noise level σ", "1 - explained variance", log=True)
    names = ("Gaussian", "mean only", "Gaussian, mirrored cloud")
    for values, slope, name in zip(far.unexplained, far.slopes, names, strict=True):
        axes.plot(config.far_sigmas, values, "o-", label=f"{name}: slope {slope:.2f}")
    axes.set_title("How much of the training set's score is missed")
    axes.legend()
    return figure


def teleportation_figure(config: Config, result: Result):
    figure, (left, right) = new_figure("Heun steps skipped, of 18", "relative to no skip", log="y", panels=2)
    left.plot(config.skips, result.teleported.error / result.teleported.error[0], "o-")
    left.set_title("exact mixture: squared error to a fine solution")
    frechet = result.network.frechet / result.network.frechet[0].mean()
    spread = frechet.std(1, ddof=1)
    right.errorbar(config.sample_skips, frechet.mean(1), spread, fmt="o-", color="C1", label="FD-mlp, teleported")
    right.axhline(
        result.network.frechet_floor / result.network.frechet[0].mean(),
        ls="--",
        color="C6",
        label="half of the real images to the rest",
    )
    right.set_title("trained network: feature Fréchet distance")
    right.legend()
    return figure


def order_figure(config: Config, orders: Orders):
    figure, axes = new_figure("steps", "rms error (geometric mean over seeds)", log=True)
    for name, errors, slope in zip(SOLVER_NAMES.values(), orders.errors, orders.slopes, strict=True):
        style = "s--" if name.startswith("UniPC") else "o-"
        axes.plot(config.solver_steps, errors, style, label=f"{name}: {-slope:.2f}")
    axes.set_title("Solver orders on the exact mixture")
    axes.set_xticks(config.solver_steps, [str(steps) for steps in config.solver_steps], minor=False)
    axes.set_xticks([], minor=True)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="order")
    return figure


def learning_figure(config: Config, explained: np.ndarray):
    sigmas = config.learn_sigmas[:3]
    figure, panels = new_figure("training step", "1 - explained variance", log=True, panels=len(sigmas))
    for i, (axes, sigma) in enumerate(zip(panels, sigmas, strict=True)):
        for j, name in enumerate(("Gaussian", "training set")):
            axes.plot(config.learn_steps, 1 - explained[:, j, i], "o-", label=f"by the {name}")
        axes.set_title(f"σ = {sigma:g}")
    panels[0].legend()
    return figure
