"""A U-Net trained on real image sets: what it learns first, what explains it in the end, and how far it is teleported.

Images are resized to the network's size. Distances are taken between features of a classifier that is trained in the
same run (FD-cnn, never FID), each batch of samples being compared with the same real images, as many as samples.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.gaussian_score.image_samples import chunked_solver, multistep_plans, real_samples, teleport_to
from experiments.gaussian_score.quality import feature_distances, start_points, teleported_samples
from experiments.gaussian_score.training_data import random_rows
from experiments.harness import Context
from experiments.models.classifier import Classifier
from experiments.models.unet import UNet, UNetConfig
from jaxlib_methods.diffusion import (
    augment,
    delta_denoise,
    edm_denoiser,
    edm_ema_decay,
    edm_loss,
    edm_optimizer,
    gaussian_denoise,
    mixture_denoise,
    unexplained_variance_curve,
)
from jaxlib_methods.nn import nnx_functional
from jaxlib_methods.numerics import fit_gaussian, fit_mixture, isotropic_gaussian
from jaxlib_methods.runtime.mesh import replicate, to_host
from jaxlib_methods.runtime.train import TrainState

if TYPE_CHECKING:
    from experiments.gaussian_score import Config

MODELS = ("mean", "Gaussian", "mixture of 10 Gaussians", "training set")
TABLE_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

SMALL = UNetConfig(width=16, multipliers=(1, 2, 3, 4), blocks=1, attention=(), dropout=0.0, labels=0)


@dataclass(frozen=True)
class ImageStudy:
    """The U-Net, its training beyond what `Config` says, and how its samples are measured.

    Attributes:
      unet: sizes of the network.
      size: images are resized to `size` x `size`.
      far_points: leading training images of which the far field is measured.
      warmup_images: images over which the learning rate rises.
      half_life: of the averaged weights, in images; less during the first `half_life / 0.05` of them.
      accumulate: micro-batches a step.
      augment: probability of each augmentation; 0 for none.
      probe_batches: batches of 256 probes for explained variances.
      sample_size: samples a batch.
      sample_chunk: samples made at once.
      solvers: multistep solvers compared, `unipc` and `dpm-v3`.
      evaluations: numbers of network evaluations for them.
      sigma_skips: noise levels to which they are teleported, the first being the noise that is sampled.
      statistics_levels, statistics_images, statistics_probes: sizes of the model statistics of `dpm-v3`.
    """

    unet: UNetConfig = SMALL
    size: int = 32
    far_points: int = 2048
    warmup_images: int = 10_000
    half_life: float = 500_000.0
    accumulate: int = 1
    augment: float = 0.0
    probe_batches: int = 1
    sample_size: int = 320
    sample_chunk: int = 320
    solvers: tuple[str, ...] = ("unipc",)
    evaluations: tuple[int, ...] = (6, 10, 16)
    sigma_skips: tuple[float, ...] = (80.0, 20.0)
    statistics_levels: int = 120
    statistics_images: int = 4096
    statistics_probes: int = 4


class Images(NamedTuple):
    """A trained U-Net.

    explained: EV (step, by Gaussian and by training set, sigma); unexplained: 1 - EV at the end (model, sigma).
    frechet, kernel: (skip, batch). multistep: FD-cnn (solver, evaluations, sigma_skip, batch).
    """

    parameters: int
    explained: np.ndarray
    unexplained: np.ndarray
    classifier_accuracy: float
    classifier_sha256: str
    frechet: np.ndarray
    kernel: np.ndarray
    frechet_floor: float
    kernel_floor: float
    multistep: np.ndarray
    images: np.ndarray
    real: np.ndarray


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Bilinear; nothing happens to images that have the size."""
    if images.shape[1] == size:
        return images
    return np.asarray(jax.image.resize(images, (len(images), size, size, images.shape[3]), "linear"))


def study_images(config: "Config", study: ImageStudy, context: Context, key, train, test) -> Images:
    """Trains the classifier and the U-Net on (images, labels) and measures the latter."""
    net_key, probe_key, classifier_key, mixture_key, sample_key, rows_key, solver_key = jax.random.split(key, 7)
    mesh = context.mesh
    placed = (lambda tree: tree) if mesh is None else lambda tree: replicate(tree, mesh)
    x = train[0]
    flat = placed(jnp.asarray(x.reshape(len(x), -1)))
    features, accuracy, digest = classifier_features(config, context, classifier_key, train, test)
    gaussian = placed(fit_gaussian(flat, mesh=mesh))
    denoise, params = image_denoiser(study, net_key, x.shape[3])

    def unexplained(params, points, models, sigmas):
        learned = lambda z, sigma: denoise(params, z.reshape(-1, *x.shape[1:]), sigma).reshape(z.shape)
        analytic = [*models, lambda z, sigma: delta_denoise(points, z, sigma, block=2048, mesh=mesh)]
        levels, batches = jnp.asarray(sigmas), study.probe_batches
        return unexplained_variance_curve(probe_key, learned, analytic, points, levels, batches=batches)

    by_gaussian = lambda z, sigma: gaussian_denoise(gaussian, z, sigma)
    learning = jax.jit(lambda params, points: unexplained(params, points, [by_gaussian], config.learn_sigmas))
    names = [f"{by}_{sigma:g}" for by in ("gaussian", "delta") for sigma in config.learn_sigmas]
    evaluate = lambda state: dict(zip(names, np.asarray(learning(state.ema, flat)).ravel(), strict=True))
    ema = train_denoiser(config, study, context, denoise, params, x, evaluate).ema
    evaluations = [record for record in context.records("network") if names[0] in record]
    explained = 1 - np.array([[record[name] for name in names] for record in evaluations])

    with context.section("explained variance"):
        by_mean = lambda z, sigma: gaussian_denoise(isotropic_gaussian(gaussian, pooled=False), z, sigma)
        mixture = fit_mixture(mixture_key, flat, 10, ridge=1e-5)
        by_mixture = lambda z, sigma: mixture_denoise(mixture, z, sigma, block=1)
        models = [by_mean, by_gaussian, by_mixture]
        missed = np.asarray(
            jax.jit(lambda params, points: unexplained(params, points, models, TABLE_SIGMAS))(ema, flat)
        )

    solve = chunked_solver(study, mesh, denoise, ema)
    real, others = real_samples(rows_key, x, study.sample_size, config.sample_batches)
    real_features = features(real)
    floors = [feature_distances(real_features, features(other)) for other in others]
    frechet_floor, kernel_floor = np.mean(floors, 0)
    starts = start_points(sample_key, (config.sample_batches, *real.shape), x.dtype)
    with context.section("samples"):
        frechet, kernel, shown = teleported_samples(config, context, solve, gaussian, starts, real_features, features)
    with context.section("multistep"):
        distance = lambda z, plan: feature_distances(real_features, features(solve(z, plan)))[0]
        distances = [
            distance(teleport_to(gaussian, start, sigma), plan(evaluations, sigma))
            for plan in context.progress(multistep_plans(study, solver_key, denoise, ema, x), "multistep")
            for evaluations in study.evaluations
            for sigma in study.sigma_skips
            for start in starts
        ]
    return Images(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        explained=explained.reshape(len(evaluations), 2, len(config.learn_sigmas)),
        unexplained=missed,
        classifier_accuracy=accuracy,
        classifier_sha256=digest,
        frechet=frechet,
        kernel=kernel,
        frechet_floor=float(frechet_floor),
        kernel_floor=float(kernel_floor),
        multistep=np.reshape(distances, (len(study.solvers), len(study.evaluations), len(study.sigma_skips), -1)),
        images=shown,
        real=real[:16],
    )


def image_denoiser(study: ImageStudy, key, channels: int):
    """The preconditioned U-Net D(params, x, sigma, labels, dropout key), and its parameters."""
    net = UNet(study.unet, size=study.size, channels=channels, rngs=nnx.Rngs(key))
    apply, params, rest = nnx_functional(net)
    return edm_denoiser(lambda params, *args: apply(params, rest, *args)[0]), params


def train_denoiser(
    config: "Config",
    study: ImageStudy,
    context: Context,
    denoise: Callable,
    params,
    x: np.ndarray,
    evaluate: Callable,
    **options: Any,
) -> TrainState:
    """Trains by the EDM recipe, `options` going to `Context.train`; the state has the averaged weights."""

    def loss(params, batch, key):
        augment_key, dropout_key, loss_key = jax.random.split(key, 3)
        labels = None
        if study.augment > 0:
            batch, labels = augment(augment_key, batch, probability=study.augment)
        return edm_loss(loss_key, denoise, params, batch, labels, dropout_key)

    return context.train(
        "network",
        loss,
        params,
        random_rows(config.batch_size, x),
        edm_optimizer(config.learning_rate, warmup_steps=study.warmup_images // config.batch_size),
        steps=config.train_steps,
        accumulate=study.accumulate,
        ema_decay=edm_ema_decay(config.batch_size, half_life=study.half_life),
        evaluate=evaluate,
        evaluate_at=config.learn_steps,
        **options,
    )


def classifier_features(config: "Config", context: Context, key, train, test):
    """Penultimate features of a classifier trained on the training images, its accuracy on the others, and its hash."""
    size, channels = train[0].shape[2:]
    net = Classifier(size=size, channels=channels, classes=int(train[1].max()) + 1, rngs=nnx.Rngs(key))
    apply, params, rest = nnx_functional(net)

    def loss(params, batch, key):
        images, classes = batch
        logits = apply(params, rest, images)[0][0]
        targets = optax.smooth_labels(jax.nn.one_hot(classes, logits.shape[1]), 0.1)
        return optax.softmax_cross_entropy(logits, targets).mean()

    params = context.train(
        "classifier",
        loss,
        params,
        random_rows(128, train),
        optax.adam(optax.cosine_decay_schedule(2e-3, config.classifier_steps)),
        steps=config.classifier_steps,
    ).params
    params = jax.tree.map(jnp.asarray, to_host(params))
    read = jax.jit(lambda images: apply(params, rest, images)[0])
    digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))).hexdigest()
    accuracy = float(np.mean(np.asarray(read(test[0])[0]).argmax(1) == test[1]))
    return lambda images: np.asarray(read(images)[1]), accuracy, digest
