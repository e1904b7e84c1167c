"""A perceptron trained on the images: it learns the Gaussian part of the score first, and is teleported."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.gaussian_score.quality import feature_distances, start_points, teleported_samples
from experiments.gaussian_score.training_data import random_rows
from experiments.harness import Claim, Context, new_figure, sheet
from jaxlib_methods.diffusion import (
    delta_denoise,
    edm_denoiser,
    edm_loss,
    gaussian_denoise,
    sample,
    unexplained_variance_curve,
)
from jaxlib_methods.nn import mlp_apply, mlp_init, sinusoidal_features
from jaxlib_methods.numerics import fit_gaussian

if TYPE_CHECKING:
    from experiments.gaussian_score import Config


class Network(NamedTuple):
    """A trained network: EV (step, by Gaussian and by training set, sigma), and its teleported samples."""

    explained: np.ndarray
    classifier_accuracy: float
    frechet: np.ndarray
    kernel: np.ndarray
    frechet_floor: float
    images: np.ndarray


def trained_network(config: "Config", context: Context, key, x, labels) -> Network:
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
        random_rows(config.batch_size, np.asarray(x)),
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
        solve = jax.jit(lambda z, plan: sample(lambda z, sigma: denoise(state.ema, z, sigma), z, plan))
        starts = start_points(sample_key, (config.sample_batches, *x.shape), x.dtype)
        frechet, kernel, images = teleported_samples(config, context, solve, gaussian, starts, features(x), features)
    halves = np.array_split(features(jax.random.permutation(half_key, x)), 2)
    return Network(
        explained=explained.reshape(len(evaluations), 2, len(config.learn_sigmas)),
        classifier_accuracy=accuracy,
        frechet=frechet,
        kernel=kernel,
        frechet_floor=feature_distances(*halves)[0],
        images=images,
    )


def classifier_features(config: "Config", context: Context, key, x, labels):
    """Penultimate features of a perceptron trained on four fifths of the data, and its accuracy on the rest."""
    test = np.arange(len(x)) % 5 == 0

    def loss(params, batch, key):
        images, classes = batch
        return optax.softmax_cross_entropy_with_integer_labels(mlp_apply(params, images), classes).mean()

    params = context.train(
        "classifier",
        loss,
        mlp_init(key, (x.shape[1], 128, 64, int(labels.max()) + 1)),
        random_rows(config.batch_size, (np.asarray(x)[~test], np.asarray(labels)[~test])),
        optax.adam(1e-3),
        steps=config.classifier_steps,
    ).params
    accuracy = float(jnp.mean(mlp_apply(params, x[test]).argmax(1) == labels[test]))
    return jax.jit(lambda z: jax.nn.silu(mlp_apply(params[:-1], z))), accuracy


def learning_claims(config: "Config", explained: np.ndarray) -> list[Claim]:
    claim = sheet("reproduction (a)4")
    if not {50, 800, 1600} <= set(config.learn_steps):
        reason = "needs learn_steps with 50, 800 and 1600"
        return [claim(Claim.not_run, "learning", "The network learns the Gaussian part first.", reason=reason)]
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


def learning_figure(config: "Config", explained: np.ndarray):
    sigmas = [sigma for sigma in (0.2, 1.0, 5.0) if sigma in config.learn_sigmas]
    figure, panels = new_figure("training step", "1 - explained variance", log=True, panels=len(sigmas))
    for axes, sigma in zip(panels, sigmas, strict=True):
        for j, name in enumerate(("Gaussian", "training set")):
            values = 1 - explained[:, j, config.learn_sigmas.index(sigma)]
            axes.plot(config.learn_steps, values, "o-", label=f"by the {name}")
        axes.set_title(f"σ = {sigma:g}")
    panels[0].legend()
    return figure
