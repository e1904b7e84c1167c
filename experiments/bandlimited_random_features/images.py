"""Read-outs of band-limited features on images."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bandlimited_random_features.config import Config
from experiments.harness import Context, new_figure
from jaxlib_methods.numerics import normal_equations, normal_equations_path
from jaxlib_methods.random_features import (
    hidden_features,
    random_net_apply,
    sample_hidden,
)


class Images(NamedTuple):
    """Test accuracy and coefficient norm (lambda, n), mean over seeds, with the ridge chosen by cross-validation."""

    accuracy: np.ndarray
    norm: np.ndarray


def image_readouts(config: Config, context: Context, key) -> Images:
    data = context.data(config.dataset)
    flat = lambda images: jnp.asarray(images).reshape(len(images), -1)
    x, x_test = flat(data.train_x), flat(data.test_x)
    labels, labels_test = jnp.asarray(data.train_y), jnp.asarray(data.test_y)
    y = jnp.where(jax.nn.one_hot(labels, 10) > 0, 1.0, -1.0)
    ridges = jnp.logspace(-2, 4, 7) * len(x) / 60_000

    @functools.partial(jax.jit, static_argnames="width")
    def one(lam, key, width):
        hidden = sample_hidden(key, width, x.shape[1], law="gaussian", lam=lam, beta=1.0)
        features = lambda rows: hidden_features(hidden, rows, jnp.tanh)
        path = normal_equations_path(normal_equations(features, x, y, mesh=context.mesh), ridges)
        c = path.coefficients[path.gcv.argmin()]
        guess = jnp.argmax(random_net_apply(hidden, c, x_test, jnp.tanh), 1)
        return jnp.mean((guess == labels_test).astype(x.dtype)), jnp.linalg.norm(c)

    keys = jax.random.split(key, config.image_seeds)
    results = [
        [np.mean([one(lam, k, width) for k in keys], 0) for width in config.image_units]
        for lam in context.progress(config.image_lams, "images")
    ]
    accuracy, norm = np.moveaxis(np.array(results), 2, 0)
    return Images(accuracy, norm)


def images_figure(config: Config, images: Images):
    figure, (left, right) = new_figure("bandwidth λ of the weights", "test accuracy", log="x", panels=2)
    for i, count in enumerate(config.image_units):
        left.plot(config.image_lams, images.accuracy[:, i], "o-", label=f"n = {count}")
        right.plot(config.image_lams, images.norm[:, i], "o-", label=f"n = {count}")
    left.set_title(f"one-vs-rest read-out, {config.dataset}")
    left.legend()
    right.set_yscale("log")
    right.set_title("coefficient norm at the cross-validated ridge")
    return figure
