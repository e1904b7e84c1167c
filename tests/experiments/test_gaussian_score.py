"""The whole experiment, very small: it runs without a warning, survives being killed, and agrees on eight devices."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from experiments import gaussian_score
from experiments.gaussian_score.image_samples import chunked_solver, multistep_plans, real_samples, teleport_to
from experiments.gaussian_score.images import ImageStudy, image_denoiser, train_denoiser
from experiments.harness import Context
from experiments.harness.run_folder import runs_of
from jaxlib_methods.diffusion import probability_flow
from jaxlib_methods.numerics import Gaussian
from jaxlib_methods.runtime import Interrupted, make_mesh

FIELDS = {
    "far_sigmas": "10,40",
    "skips": "0,1,2,3,4,5,6,8,12",
    "points": "40",
    "points_per_batch": "20",
    "reference_steps": "20",
    "solver_seeds": "4",
    "solver_steps": "20,160",
    "solver_reference_steps": "200",
    "batch_size": "16",
    "width": "8",
    "learn_steps": "50,800,1600",
    "learn_sigmas": "0.2,1,5",
    "classifier_steps": "20",
    "sample_skips": "0,5,8,12",
    "sample_batches": "2",
}
FIGURES = {"far_field", "teleportation", "solver_orders", "learning_order", "samples"}
IMAGE_FIELDS = {
    "dataset": "digits",
    "far_sigmas": "40,80",
    "train_steps": "20",
    "batch_size": "16",
    "learn_steps": "4,20",
    "learn_sigmas": "0.2,1,5",
    "classifier_steps": "10",
    "sample_skips": "0,5,6,8,10,12",
    "sample_batches": "2",
    "images.unet.width": "4",
    "images.unet.multipliers": "1",
    "images.unet.blocks": "0",
    "images.unet.attention": "8",
    "images.size": "8",
    "images.far_points": "64",
    "images.accumulate": "2",
    "images.probe_batches": "1",
    "images.sample_size": "16",
    "images.sample_chunk": "16",
    "images.solvers": "unipc",
    "images.evaluations": "5",
    "images.sigma_skips": "80,20",
}
IMAGE_FIGURES = {"far_field", "learning_order", "explained", "quality", "multistep", "samples"}

PROGRAM = """
import os, signal, sys
from experiments.harness.command_line import main
from jaxlib_methods.runtime import MetricsWriter

fatal_step, log = int(sys.argv[1]), MetricsWriter.write

def log_and_perhaps_die(self, step, **values):
    log(self, step, **values)
    if values.get("training") == "network" and step == fatal_step:
        os.kill(os.getpid(), signal.SIGKILL)

MetricsWriter.write = log_and_perhaps_die
sys.exit(main(sys.argv[2:]))
"""

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(name, *options, fatal_step=-1)` starts a run in the folder of that name, on eight simulated devices."""
    root = tmp_path_factory.mktemp("gaussian_score")
    surroundings = os.environ | {
        "PYTHONPATH": str(Path(experiments.__file__).parents[1]),
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    children = []

    def begin(name, *options, fields=FIELDS, fatal_step=-1):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(fatal_step), "run", "gaussian_score"]
        command += [f"--config.{name}={value}" for name, value in fields.items()]
        command += ["--runs", str(root / name), *options]
        child = subprocess.Popen(
            command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        children.append(child)
        return child, root / name

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def finish(child, runs):
    _, words = child.communicate(timeout=300)
    (run,) = runs_of(runs, "gaussian_score")
    assert run.state() == "finished", words
    return run, words


@pytest.fixture(scope="module")
def whole_and_sharded(start):
    runs = [start("whole"), start("sharded", "--mesh", "data=8")]
    return [finish(*run) for run in runs]


def result_of(run):
    """The result without timings, and its large arrays."""
    with np.load(run.path / "result.npz", allow_pickle=False) as arrays:
        return run.read("result")["result"], dict(arrays)


def test_a_run_checks_its_claims_draws_its_figures_and_warns_of_nothing(whole_and_sharded):
    (run, words), _ = whole_and_sharded
    assert len(run.read("claims")) == 31
    assert all(claim["passed"] is not None for claim in run.read("claims"))
    assert {path.stem for path in (run.path / "figures").iterdir()} == FIGURES
    assert {line.split(":")[0] for line in words.splitlines()[1:]} <= {
        *("skips", "solvers", "network", "classifier", "samples")
    }


def test_the_full_preset_at_reduced_size_checks_its_claims_and_draws_its_figures(start):
    run, _ = finish(*start("images", "--preset", "full", fields=IMAGE_FIELDS))
    assert {path.stem for path in (run.path / "figures").iterdir()} == IMAGE_FIGURES
    assert all(claim["passed"] is not None for claim in run.read("claims"))
    result = run.read("result")["result"]["network"]
    assert np.shape(result["frechet"]) == (6, 2)
    assert np.shape(result["multistep"]) == (1, 1, 2, 2)
    assert np.all(np.isfinite(result["multistep"]))


@pytest.mark.parametrize("sigma", [80.0, 20.0])
def test_multistep_solvers_follow_a_known_flow_from_any_first_noise_level(sigma):
    rng = np.random.default_rng(0)
    x = (0.5 * rng.standard_normal((64, 2, 2, 1))).astype(np.float32)
    gaussian = Gaussian(jnp.zeros(4), jnp.eye(4), jnp.full(4, 0.25), jnp.zeros(()))
    denoise = lambda params, z, level: 0.25 / (0.25 + level**2) * z
    study = ImageStudy(solvers=("unipc", "dpm-v3"), statistics_levels=60, statistics_images=64, sample_chunk=5)
    solve = chunked_solver(study, None, denoise, None)
    start = 80 * rng.standard_normal((8, 2, 2, 1)).astype(np.float32)
    exact = probability_flow(gaussian, jnp.asarray(start.reshape(8, 4)), 80.0, 0.002).reshape(start.shape)
    for plan in multistep_plans(study, jax.random.key(0), denoise, None, x):
        ends = solve(teleport_to(gaussian, jnp.asarray(start), sigma), plan(30, sigma))
        np.testing.assert_allclose(ends, exact, atol=0.01)


def test_real_samples_are_disjoint_and_as_many_as_there_are():
    x = np.arange(10.0)[:, None]
    first, others = real_samples(jax.random.key(0), x, 3, 5)
    drawn = np.concatenate([first, *others]).ravel()
    assert len(others) == 2
    assert len(set(drawn)) == drawn.size == 9


def test_bad_sample_size_is_named():
    with pytest.raises(ValueError, match="sample_size must be at most half of the 10 training images, got 6"):
        real_samples(jax.random.key(0), np.zeros((10, 1)), 6, 1)


def test_training_the_full_preset_s_network_on_two_devices_goes_on_to_the_same_bits_when_interrupted(tmp_path):
    """Accumulated micro-batches, dropout, labelled augmentation, averaged weights and checkpoints, all at once."""
    full = gaussian_score.PRESETS["full"]
    small = replace(full.images.unet, width=4, multipliers=(1,), blocks=0)
    study = replace(full.images, unet=small, size=8, accumulate=2)
    config = replace(full, batch_size=8, train_steps=6, learn_steps=(6,))
    x = np.random.default_rng(0).standard_normal((32, 8, 8, 3), np.float32)
    denoise, params = image_denoiser(study, jax.random.key(0), 3)
    evaluate = lambda state: {"norm": jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(state.ema)))}

    def train(folder, mesh, interrupted=lambda: False):
        (tmp_path / folder).mkdir(exist_ok=True)
        context = Context(0, tmp_path / folder, mesh=mesh)
        with contextlib.closing(context):
            options = dict(interrupted=interrupted)
            state = train_denoiser(config, study, context, denoise, params, x, evaluate, **options)
        return jax.device_get(state), context.records("network")

    mesh = make_mesh("data=2")
    whole, log = train("whole", mesh)
    polls = itertools.count(1)
    with pytest.raises(Interrupted):
        train("interrupted", mesh, lambda: next(polls) == 3)
    resumed, resumed_log = train("interrupted", mesh)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert resumed_log == log
    alone, _ = train("alone", None)
    for ours, theirs in zip(jax.tree.leaves(whole.ema), jax.tree.leaves(alone.ema), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_run_killed_three_times_while_training_ends_with_the_same_bits(start, whole_and_sharded):
    (whole, _), _ = whole_and_sharded
    resume = []
    for fatal_step in (50, 700, 1600):  # before the first checkpoint, between two, before the last
        child, runs = start("killed", *resume, fatal_step=fatal_step)
        _, words = child.communicate(timeout=300)
        assert child.returncode == -signal.SIGKILL, words
        (run,) = runs_of(runs, "gaussian_score")
        assert run.state() == "died"
        resume = ["--resume", run.path.name]
    run, _ = finish(*start("killed", *resume))
    for name in ("claims.json", "result.npz", "metrics.jsonl"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert result_of(run)[0] == result_of(whole)[0]


def test_eight_devices_agree_with_one(whole_and_sharded):
    (one, one_arrays), (eight, eight_arrays) = (result_of(run) for run, _ in whole_and_sharded)
    for part, tolerance in (("far_field", 1e-9), ("teleported", 1e-6), ("orders", 1e-9)):
        for name, values in one[part].items():
            np.testing.assert_allclose(eight[part][name], values, rtol=tolerance, err_msg=f"{part} {name}")
    np.testing.assert_allclose(eight["network"]["explained"], one["network"]["explained"], atol=1e-4)
    images = "result.network.images"
    np.testing.assert_allclose(eight_arrays[images], one_arrays[images], atol=1e-4)
