"""The claims about a U-Net on an image set: its classifier, the skip curve, what explains its score, and when."""

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.gaussian_score.images import MODELS, TABLE_SIGMAS, Images
from experiments.gaussian_score.quality import quality_loss
from experiments.harness import Claim

if TYPE_CHECKING:
    from experiments.gaussian_score import Config

ACCURACY = {"mnist": 0.99, "fashion_mnist": 0.91}
CIFAR_TABLE = (0.7346, 0.8183, 0.8921, 0.9588, 0.9843, 0.9957, 0.9997, 1.0)


def image_claims(config: "Config", network: Images) -> list[Claim]:
    return [
        *classifier_claims(config, network),
        *knee_claims(config, network),
        *explained_claims(config, network),
        *learning_order_claims(config, network),
    ]


def classifier_claims(config: "Config", network: Images) -> list[Claim]:
    if config.dataset not in ACCURACY:
        return []
    needed = ACCURACY[config.dataset]
    return [
        Claim.at_least(
            "classifier-accuracy",
            f"The classifier whose features measure quality has a test accuracy of {needed:.0%} or more.",
            source="sheet, FID without a downloaded Inception, (2)",
            origin="derived",
            expected=needed,
            measured=network.classifier_accuracy,
        )
    ]


def knee_claims(config: "Config", network: Images) -> list[Claim]:
    skip = dict(zip(config.sample_skips, network.frechet.mean(1), strict=True))
    return [
        Claim.ordering(
            "network-knee",
            "The feature Fréchet distance grows from 6 to 8 to 10 to 12 skipped steps.",
            source="sheet, headline results: the CIFAR-10 table (1.965, 3.16, 23.5, 108); same shape",
            origin="derived",
            expected="increasing",
            measured=np.array([skip[k] for k in (6, 8, 10, 12)]),
        ),
        Claim.at_least(
            "network-too-far",
            "Skipping 12 of 18 steps costs quality: more than ten standard deviations of the distance over batches.",
            source="sheet, headline results: 108 against 1.96; ten deviations rule chance out",
            origin="derived",
            expected=10.0,
            measured=quality_loss(network.frechet)[config.sample_skips.index(12)],
        ),
    ]


def explained_claims(config: "Config", network: Images) -> list[Claim]:
    model = dict(zip(MODELS, 1 - network.unexplained, strict=True))
    table = "sheet, headline results: EV of the pretrained CIFAR-10 network"
    about: Any = dict(source=table, origin="authors' code")
    found = [
        Claim.close(
            "explained-high-noise",
            "At sigma 10 the Gaussian explains the trained network's score.",
            source=f"{table}, 1.0000 at sigma 10; three digits allowed because data and network differ",
            origin="authors' code",
            expected=1.0,
            measured=model["Gaussian"][TABLE_SIGMAS.index(10.0)],
            tolerance=1e-3,
        ),
        Claim.at_least(
            "explained-beyond-mean",
            "The Gaussian explains more of the network's score than the mean alone, at every sigma from .05 to 10.",
            expected=0.0,
            measured=model["Gaussian"] - model["mean"],
            **about,
        ),
        Claim.at_least(
            "explained-by-mixture",
            "A mixture of ten Gaussians explains more than one Gaussian, at every sigma from .05 to 1.",
            expected=0.0,
            measured=(model["mixture of 10 Gaussians"] - model["Gaussian"])[: TABLE_SIGMAS.index(1.0) + 1],
            **about,
        ),
    ]
    if config.dataset != "cifar10":
        return found
    return [
        *found,
        Claim.at_least(
            "explained-beyond-training-set",
            "On CIFAR-10 the Gaussian explains more of the network's score than the training set, sigma .05 to 2.",
            expected=0.0,
            measured=(model["Gaussian"] - model["training set"])[: TABLE_SIGMAS.index(2.0) + 1],
            **about,
        ),
        Claim.close(
            "explained-table",
            "On CIFAR-10 the Gaussian explains .7346, .8183, .8921, .9588, .9843, .9957, .9997, 1.0000 of the score.",
            source=f"{table}; tolerance .03, more than its change late in training (.8574 to .8347)",
            origin="authors' code",
            expected=np.array(CIFAR_TABLE),
            measured=model["Gaussian"],
            tolerance=0.03,
        ),
    ]


def learning_order_claims(config: "Config", network: Images) -> list[Claim]:
    steps, low = np.array(config.learn_steps), config.learn_sigmas.index(0.2)
    gaussian, training_set = network.explained[:, 0, low], network.explained[:, 1, low]
    about: Any = dict(source="sheet, learning order of nonlinear networks", origin="derived")
    found = [
        Claim.at_most(
            "learning-gaussian-peaks",
            "At sigma 0.2 the share that the Gaussian explains peaks before training ends.",
            expected=float(steps[-2]),
            measured=float(steps[gaussian.argmax()]),
            **about,
        ),
        Claim.ordering(
            "learning-delta-rises",
            "At sigma 0.2 the share that the training set explains keeps rising.",
            expected="increasing",
            measured=training_set,
            **about,
        ),
    ]
    if config.dataset != "mnist":
        return found
    table = "sheet, headline results: learning order of MNIST, 24,999 steps of 256 images"
    return [
        *found,
        Claim.ordering(
            "learning-mnist-delta-wins",
            "On MNIST the training set explains more than the Gaussian at sigma 0.2 when training ends.",
            source=f"{table}: .9445 against .8379",
            origin="authors' code",
            expected=["Gaussian", "training set"],
            measured={"Gaussian": gaussian[-1], "training set": training_set[-1]},
        ),
        Claim.close(
            "learning-mnist-values",
            "On MNIST the Gaussian explains .8379 and the training set .9445 at sigma 0.2 when training ends.",
            source=f"{table}; tolerance .043, the training set's change in the table from step 3,000 on",
            origin="authors' code",
            expected=np.array([0.8379, 0.9445]),
            measured=np.array([gaussian[-1], training_set[-1]]),
            tolerance=0.043,
        ),
    ]
