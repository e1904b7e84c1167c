"""Wang and Vastola 2024: at high noise a diffusion model's score is Gaussian, so its first steps need no network.

    python -m experiments run gaussian_score --preset quick    # 2 cores, about 60 s; 10 of 35 evaluations saved
    python -m experiments run gaussian_score --preset mnist    # 2 cores, about 15 min; also fashion_mnist
    python -m experiments run gaussian_score --preset cifar10  # one accelerator; full: the paper's network, on many

Four parts on real images: how fast the training set's score becomes Gaussian; what a teleported sampler loses on an
exact mixture; the orders of the solvers; and a small network, which learns the Gaussian part first and is teleported.
The presets with image sets repeat the first part on a subset and the last with a U-Net (`images`).

Errors over random starting points are heavy-tailed, because a few points lie between two modes of the mixture: orders
are means of each point's own slope, mean squares are taken over 10,000 points, and the shifts stated for 500 points are
compared with their range over batches of that size.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.gaussian_score.exact_mixture import (
    Orders,
    Teleported,
    error_panel,
    order_claims,
    order_figure,
    solver_orders,
    teleportation,
    teleportation_claims,
)
from experiments.gaussian_score.far_field import FarField, far_field, far_field_claims, far_field_figure
from experiments.gaussian_score.image_claims import image_claims
from experiments.gaussian_score.image_figures import image_figures
from experiments.gaussian_score.images import Images, ImageStudy, resized, study_images
from experiments.gaussian_score.perceptron import Network, learning_claims, learning_figure, trained_network
from experiments.gaussian_score.quality import frechet_panel, network_claims
from experiments.harness import Claim, Context, new_figure, new_image_grid
from experiments.models.unet import UNetConfig
from jaxlib_methods.numerics import mixture_from_labels

PAPER = "Wang and Vastola, The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models, 2024"


@dataclass(frozen=True)
class Config:
    """Data, and the sizes of the parts; with `images` a U-Net takes the place of exact mixture and perceptron."""

    dataset: str = "digits"
    far_sigmas: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
    far_from: float = 10.0
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
    images: ImageStudy | None = None


MNIST = Config(
    dataset="mnist",
    far_sigmas=(1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0),
    far_from=40.0,  # in units of the images' spread, about where 10 lies for digits
    train_steps=1200,
    batch_size=64,
    learning_rate=2e-3,
    learn_steps=(50, 100, 200, 400, 800, 1200),
    learn_sigmas=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    classifier_steps=3750,
    sample_skips=(0, 2, 4, 5, 6, 7, 8, 10, 12),
    sample_batches=4,
    images=ImageStudy(),
)
CIFAR10_STUDY = ImageStudy(
    unet=UNetConfig(width=96, multipliers=(1, 2, 2), blocks=2),
    warmup_images=1_000_000,
    augment=0.12,
    probe_batches=8,
    sample_size=2000,
    sample_chunk=500,
    solvers=("unipc", "dpm-v3"),
    evaluations=(5, 8, 10, 15, 20, 25),
    sigma_skips=(80.0, 40.0, 20.0, 10.0),
)
CIFAR10 = replace(
    MNIST,
    dataset="cifar10",
    train_steps=100_000,
    batch_size=256,
    learning_rate=1e-3,
    learn_steps=(400, 1200, 2400, 5000, 10_000, 20_000, 50_000, 100_000),
    classifier_steps=20_000,
    sample_skips=(0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12),
    sample_batches=5,
    images=CIFAR10_STUDY,
)
PRESETS = {
    "quick": Config(),
    "mnist": MNIST,
    "fashion_mnist": replace(MNIST, dataset="fashion_mnist"),
    "cifar10": CIFAR10,
    "full": replace(
        CIFAR10,
        train_steps=390_625,
        batch_size=512,
        learn_steps=(200, 600, 1200, 5000, 10_000, 50_000, 100_000, 390_625),
        images=replace(
            CIFAR10_STUDY, unet=UNetConfig(), warmup_images=10_000_000, sample_size=10_000, sample_chunk=1000
        ),
    ),
}


class Result(NamedTuple):
    """What the four parts measured."""

    far_field: FarField
    teleported: Teleported
    orders: Orders
    network: Network


class ImageResult(NamedTuple):
    """What the two parts of the image presets measured."""

    far_field: FarField
    network: Images


def run(config: Config, context: Context) -> Result | ImageResult:
    shards = 1 if context.mesh is None else context.mesh.shape["data"]
    if config.batch_size % shards:
        raise ValueError(f"batch_size must be a multiple of the mesh's {shards} data shards, got {config.batch_size}")
    keys = jax.random.split(context.key, 4)
    data = context.data(config.dataset)
    study = config.images
    if study is not None:
        train = resized(data.train_x, study.size), data.train_y
        test = resized(data.test_x, study.size), data.test_y
        points = train[0][: study.far_points]
        with jax.enable_x64(True), context.section("far field"):
            far = far_field(config, context, keys[0], jnp.asarray(points.reshape(len(points), -1), jnp.float64))
        return ImageResult(far, study_images(config, study, context, keys[3], train, test))

    images, labels = data.all()
    x, labels = images.reshape(len(images), -1), jnp.asarray(labels)
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


def claims(config: Config, result: Result | ImageResult) -> list[Claim]:
    if isinstance(result, ImageResult):
        return [
            *far_field_claims(result.far_field),
            *network_claims(config, result.network.frechet),
            *image_claims(config, result.network),
        ]
    return [
        *far_field_claims(result.far_field),
        *teleportation_claims(config, result.teleported),
        *order_claims(config, result.orders),
        *learning_claims(config, result.network.explained),
        *network_claims(config, result.network.frechet),
    ]


def figures(config: Config, result: Result | ImageResult):
    yield "far_field", far_field_figure(config, result.far_field)
    yield "learning_order", learning_figure(config, result.network.explained)
    if isinstance(result, ImageResult):
        yield from image_figures(config, result.network)
        return
    yield "teleportation", teleportation_figure(config, result)
    yield "solver_orders", order_figure(config, result.orders)
    shown = [config.sample_skips.index(skip) for skip in (0, 5, 8, 12)]
    rows = {f"{config.sample_skips[i]} of {config.steps} steps skipped": result.network.images[i] for i in shown}
    yield "samples", new_image_grid(rows)


def teleportation_figure(config: Config, result: Result):
    figure, (left, right) = new_figure("Heun steps skipped, of 18", "relative to no skip", log="y", panels=2)
    error_panel(config, left, result.teleported)
    frechet_panel(config, right, result.network.frechet, result.network.frechet_floor, "FD-mlp")
    return figure
