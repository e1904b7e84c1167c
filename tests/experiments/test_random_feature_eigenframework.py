"""The whole experiment, very small, on digits: every part runs, is claimed and is drawn; missing data is told."""

import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest

from experiments import random_feature_eigenframework as experiment
from experiments.random_feature_eigenframework import images as images_module, myrtle
from experiments.random_feature_eigenframework.config import Myrtle, Simulation
from jaxlib_methods.infinite_width import network_gram
from jaxlib_methods.runtime import DataError

TINY = experiment.Config(
    simulation=Simulation(
        modes=30, alpha=1.3, beta=1.4, noise=0.1, n=6, k=6, ns=(4, 9), ks=(6, 9), ridges=(0.1, 1.0), trials=3, tests=5
    ),
    dataset="digits",
    second_dataset="digits",
    pool=400,
    sizes=(20, 40, 80),
    draws=2,
    kernel_trials=2,
    feature_trials=1,
    feature_tests=50,
    ratio_samples=40,
    ratio_trials=1,
    myrtle=Myrtle(
        datasets=("digits",),
        coarser=2,
        pool=50,
        tile=20,
        sizes=(10, 20, 30),
        tests=20,
        draws=2,
        ratio_samples=30,
        ratio_tests=20,
        ratio_trials=1,
        squares=(2,),
        shares=(1.0,),
    ),
)


def test_every_part_runs_and_the_theory_has_the_stored_values(context):
    result = experiment.run(TINY, context)
    claims = {claim.id: claim for claim in experiment.claims(TINY, result)}
    exact = ["theory-table", "theory-optimum", "more-is-better-table", "more-is-better", "optimal-ridge"]
    assert all(claims[name].passed for name in exact)
    not_run = {name for name, claim in claims.items() if claim.passed is None}
    assert not_run == {
        *("simulation-theory", "simulation-test", "simulation-train", "paper-simulation"),
        *("cifar10-simulation", "cifar10-theory"),
    }
    figures = dict(experiment.figures(TINY, result))
    names = {"simulation", "learning_curves", "ridge_paths", "fitting_ratio"}
    assert set(figures) == names | {"myrtle_learning_curves_digits", "myrtle_fitting_ratio_digits"}
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())
    for curves in (result.over_k, result.over_n, result.images.kernel, result.images.features):
        assert np.isfinite(curves.measured).all()
        assert curves.measured.shape[:-1] == curves.theory.shape


def test_without_data_the_image_claims_are_not_run_and_say_why(context, monkeypatch):
    def missing(name):
        raise DataError(f"{name} is nowhere")

    monkeypatch.setattr(context, "data", missing)
    config = dataclasses.replace(
        TINY, dataset="mnist", cifar_pool=100, myrtle=dataclasses.replace(TINY.myrtle, datasets=("mnist",))
    )
    result = experiment.run(config, context)
    claims = experiment.claims(config, result)
    reasons = {claim.id: claim.measured for claim in claims if claim.passed is None}
    assert reasons["mnist-exponents"] == "mnist is nowhere"
    assert reasons["cifar10-theory"] == "cifar10 is nowhere"
    assert reasons["myrtle-exponents-mnist"] == "mnist is nowhere"
    assert list(dict(experiment.figures(config, result))) == ["simulation"]


def test_the_convolutional_kernel_is_the_whole_one_and_tiles_that_were_saved_are_not_computed_again(
    context, monkeypatch
):
    images = np.random.default_rng(0).standard_normal((5, 8, 8, 3)).astype(np.float32)
    whole = np.asarray(network_gram(myrtle.network(8), jnp.asarray(images)), float)
    kernel = myrtle.tangent_kernel("noise", 2, context, images)
    np.testing.assert_allclose(kernel, whole / np.diag(whole).mean(), rtol=1e-4)
    monkeypatch.setattr(myrtle, "compiled_kernel", lambda side, mesh: None)
    np.testing.assert_array_equal(myrtle.tangent_kernel("noise", 2, context, images), kernel)


@pytest.mark.parametrize(("side", "pools"), [(32, 5), (28, 4), (14, 3), (8, 3), (7, 2)])
def test_the_network_halves_its_images_until_one_pixel_is_left(side, pools):
    layers = myrtle.network(side)
    params, shape = layers.init(jax.random.key(0), (side, side, 1))
    assert side >> pools == 1
    assert shape == (10,)
    assert [np.shape(leaf) for leaf in jax.tree.leaves(params)][-1] == (1, 10)


@pytest.mark.parametrize(("square", "share"), [(1, 1.0), (2, 1.0), (1, 0.5), (1, 0.0)])
def test_shuffled_images_share_one_permutation_of_whole_squares(square, share):
    images = np.arange(2 * 5 * 5).reshape(2, 5, 5, 1).astype(np.float32)
    found = myrtle.shuffled(jax.random.key(0), images, square, share)
    np.testing.assert_array_equal(found[1] - found[0], 25)
    np.testing.assert_array_equal(np.sort(found[0].ravel()), images[0].ravel())
    moved = found[0, :, :, 0] != images[0, :, :, 0]
    count = 5 // square
    assert not moved[count * square :].any()
    assert not moved[:, count * square :].any()
    assert moved.sum() <= round(share * count**2) * square**2
    assert moved.any() == (share > 0)
    corners = found[0, : count * square : square, : count * square : square, 0]
    for i, j in np.ndindex(square, square):
        np.testing.assert_array_equal(
            found[0, i : count * square : square, j : count * square : square, 0], corners + 5 * i + j
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": 40}, r"myrtle\.pool must hold 50 images"),
        ({"ratio_tests": 21}, r"myrtle\.pool must hold 51 images"),
        ({"shares": (0.5, 1.5)}, r"myrtle\.shares must lie between 0 and 1"),
    ],
)
def test_bad_sizes_are_refused_before_kernels_are_computed(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY.myrtle, **changes)


def test_bad_squares_of_pixels_are_named(context):
    with pytest.raises(ValueError, match="coarser must divide 8, the side of images of digits, got 3"):
        images_module.pool_of(context, "digits", 10, coarser=3)
    with pytest.raises(ValueError, match="at most half of the images' side, 4, got 5"):
        myrtle.shuffled(jax.random.key(0), np.zeros((1, 8, 8, 1)), 5, 1.0)
    with pytest.raises(ValueError, match="need a pool of at least 5, got 4"):
        images_module.draw(jax.random.key(0), 4, 3, 2)
