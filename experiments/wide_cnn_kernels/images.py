"""Kernel regression on images, and the empirical NTK of a residual network."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, name_ticks, new_figure, sheet
from experiments.wide_cnn_kernels.config import Config
from jaxlib_methods.infinite_width import (
    Layer,
    activation,
    conv,
    dense,
    empirical_ntk,
    flatten,
    global_avg_pool,
    identity,
    network_gram,
    parallel,
    serial,
)
from jaxlib_methods.numerics import gram, psd_solve

if TYPE_CHECKING:
    from experiments.wide_cnn_kernels import Result

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)

RIDGE = 1e-6  # of the mean diagonal

STD: dict[str, Any] = {"weight_std": 2**0.5, "bias_std": 0.1}

RELU = activation("relu")

FILTER = conv(1, (3, 3), padding="SAME", **STD)


def networks() -> dict[str, Layer]:
    """Filters on images, and three hidden layers on pixels."""
    hidden = [dense(1, **STD), RELU] * 3
    return {
        "convolutional": serial(FILTER, RELU, FILTER, RELU, flatten(), dense(1, **STD)),
        "dense": serial(flatten(), *hidden, dense(1, **STD)),
    }


def image_networks() -> dict[str, Layer]:
    """Deeper filters, without and with a global pool."""
    body = [FILTER, RELU] * 5
    return {
        "flatten": serial(*body, flatten(), dense(1, **STD)),
        "pooled": serial(*body, global_avg_pool(), dense(1, **STD)),
    }


def classify(data, train: int, test: int, chosen: dict[str, Layer], mesh) -> dict[str, np.ndarray]:
    """Test accuracies of NTK regression on one-hot labels at `SHARES` of the training set."""
    images, labels = data.all()
    order = np.random.default_rng(0).permutation(len(images))
    rows, columns = order[:train], order[train : train + test]
    mean, spread = images[rows].mean(), images[rows].std()
    x, y = (jnp.asarray((images[part] - mean) / spread, jnp.float64) for part in (rows, columns))
    targets = jax.nn.one_hot(labels[rows], 10, dtype=x.dtype)
    result = {}
    for name, network in chosen.items():
        kernels = jax.jit(
            lambda x, y, network=network: (network_gram(network, x, mesh=mesh), network_gram(network, y, x, mesh=mesh))
        )
        inside, outside = kernels(x, y)
        accuracies = []
        for n in (int(share * train) for share in SHARES):
            ridge = RIDGE * jnp.trace(inside[:n, :n]) / n
            weights = psd_solve(inside[:n, :n], targets[:n], ridge)
            accuracies.append(float(jnp.mean(jnp.argmax(outside[:, :n] @ weights, 1) == labels[columns])))
        result[name] = np.array(accuracies)
    return result


def resnet(width: int = 64, stages: int = 4) -> Layer:
    """ResNet-18 without normalisation: stages of two residual blocks."""
    std: dict[str, Any] = {"padding": "SAME", "weight_std": 2**0.5}

    def block(channels, stride):
        body = serial(RELU, conv(channels, (3, 3), strides=(stride,) * 2, **std), RELU, conv(channels, (3, 3), **std))
        shortcut = identity() if stride == 1 else serial(RELU, conv(channels, (1, 1), strides=(stride,) * 2, **std))
        return parallel(shortcut, body)

    blocks = [block(width * 2**i, 2 if i and not j else 1) for i in range(stages) for j in range(2)]
    return serial(conv(width, (3, 3), **std), *blocks, RELU, global_avg_pool(), dense(10))


def resnet_kernel(key, images: np.ndarray, mesh) -> float:
    """Least eigenvalue over the largest of a ResNet's empirical NTK, averaged over its ten outputs."""
    network = resnet()
    params = network.init(key, images.shape[1:])[0]
    tile = lambda a, b: empirical_ntk(network.apply, params, a, b, method="structured")
    theta = jax.jit(lambda x: gram(tile, x, block=16, mesh=mesh))(jnp.asarray(images))
    values = np.linalg.eigvalsh(np.asarray(theta, np.float64))
    return float(values[0] / values[-1])


def image_claims(result: "Result") -> list[Claim]:
    pooling = ("pooling", "On CIFAR-10 a global pool helps: accuracies of flatten and pooled.")
    semidefinite = "resnet", "The empirical NTK of a ResNet-18 is semidefinite: least over largest eigenvalue."
    claim, images = sheet("reproductions full"), result.images
    if not isinstance(images, str):
        images = {name: float(values[-1]) for name, values in images.items()}
    return [
        sheet("reproduction quick (f)")(
            Claim.at_least,
            "digits",
            "NTK regression on digits: test accuracy of the convolutional and the dense network.",
            expected=0.965,
            measured=[result.digits[name][-1] for name in ("convolutional", "dense")],
        ),
        claim(Claim.ordering, *pooling, expected=["flatten", "pooled"], measured=images),
        claim(Claim.at_least, *semidefinite, expected=-1e-6, measured=result.resnet),
    ]


def digits_figure(config: Config, result: "Result"):
    figure, axes = new_figure("training images", "test accuracy", log="x")
    sizes = [int(share * config.digits) for share in SHARES]
    for name, accuracy in result.digits.items():
        axes.plot(sizes, accuracy, "o-", label=f"{name} network")
    name_ticks(axes, sizes)
    axes.set_title("digits, regression with the NTK")
    axes.legend()
    return figure
