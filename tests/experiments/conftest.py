"""Tiny experiments that only the tests know, in this process or in a child."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import experiments
from experiments.harness import Context, record, registry


@pytest.fixture
def context(tmp_path):
    """Of a run from Python, in a folder of its own."""
    context = Context(0, tmp_path)
    yield context
    context.close()


PAPERS = """
[[papers]]
slug = "fake_mean"
title = "Means <b>of</b> digits & more"
date = "Jan 2000"
group = "tests"
module = "jaxlib_methods.fake"

[[papers]]
slug = "fake_training"
title = "A line fitted slowly"
date = "Feb 2000"
group = "tests"

[[papers]]
slug = "fake_planned"
title = "Not written yet"
date = "Mar 2000"
group = "tests"
"""

FAKE_MEAN = """
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import numpy as np

from experiments.harness import Claim, Context, new_figure, new_image_grid

PAPER = "Nobody, Means of digits, 2000"


@dataclass(frozen=True)
class Inner:
    width: int = 3
    rate: float = 0.1


@dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    points: int = 64
    sizes: tuple[int, ...] = (1, 2)
    loud: bool = False
    solver: Literal["heun", "euler"] = "heun"
    limit: float | None = None
    inner: Inner = Inner()
    expected: float = 0.0
    fault: str = ""

    def __post_init__(self):
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")


PRESETS = {"quick": Config(), "full": Config(points=1000)}


class Result(NamedTuple):
    mean: float
    devices: int
    images: np.ndarray


def run(config: Config, context: Context) -> Result:
    if config.fault == "raise":
        raise RuntimeError("this one fails <on purpose>\\nand says more")
    if config.fault == "print":
        print("chatter")
    x = context.data(config.dataset).train_x[: config.points]
    for size in context.progress(config.sizes, "sizes"):
        context.log(size, mean=float(x.mean()))
    if config.fault == "big":
        x = np.random.default_rng(0).random((1000, 1000))
    noise = float(jax.random.normal(context.key))
    return Result(float(x.mean()) + 0 * noise, context.mesh.size if context.mesh else 1, x)


def claims(config: Config, result: Result) -> list[Claim]:
    about = dict(source="section <1>", origin="derived")
    return [
        Claim.close("mean", "The mean & more.", expected=config.expected, measured=result.mean, tolerance=1.0, **about),
        Claim.at_least("devices", "There are devices.", expected=1, measured=result.devices, **about),
        Claim.not_run("full", "Only with more points.", "needs the preset full", **about),
    ]


def figures(config: Config, result: Result):
    figure, axes = new_figure("x", "y")
    axes.plot([0, 1], [0, result.mean])
    yield "line", figure
    yield "digits", new_image_grid({"first": result.images[:8], "next": result.images[8:16]})
"""

FAKE_TRAINING = """
import time
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context

PAPER = "Nobody, A line fitted slowly, 2000"


@dataclass(frozen=True)
class Config:
    steps: int = 40
    seconds_per_step: float = 0.0
    before: float = 0.0


PRESETS = {"quick": Config()}


class Result(NamedTuple):
    weights: np.ndarray
    losses: list
    offset: float


def run(config: Config, context: Context) -> Result:
    time.sleep(config.before)

    def loss(params, batch, key):
        noise = 0.1 * jax.random.normal(key, batch["y"].shape)
        return jnp.mean((batch["x"] @ params - batch["y"] - noise) ** 2)

    def batch(step):
        time.sleep(config.seconds_per_step)
        x = np.random.default_rng(step).normal(size=(16, 5)).astype(np.float32)
        return {"x": x, "y": x.sum(1)}

    state = context.train(
        "line", loss, jnp.zeros(5), batch, optax.adam(0.1), steps=config.steps, log_every=5, checkpoint_every=5
    )
    context.log(0, note=1.0)
    return Result(np.asarray(state.params), [r["loss"] for r in context.records("line")], float(context.seed))


def claims(config: Config, result: Result) -> list[Claim]:
    about = dict(source="nowhere", origin="derived")
    return [
        Claim.close("weights", "All are one.", expected=[1.0] * 5, measured=result.weights, tolerance=2.0, **about),
        Claim.at_least("losses", "All are logged.", expected=0, measured=result.losses, **about),
    ]


def figures(config: Config, result: Result):
    return []
"""

DRIVER = """
import sys
from pathlib import Path

import experiments
from experiments.harness import registry
from experiments.harness.command_line import main

here = Path(__file__).parent
experiments.__path__.append(str(here))
registry.PAPERS_FILE = here / "papers.toml"
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Makes the fake experiments the only ones known, in an empty working directory, which is returned."""
    for name, text in (("papers.toml", PAPERS), ("fake_mean.py", FAKE_MEAN), ("fake_training.py", FAKE_TRAINING)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(registry, "PAPERS_FILE", tmp_path / "papers.toml")
    monkeypatch.setattr(record, "RECORDED", tmp_path / "docs" / "recorded")
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("fake_mean", "fake_training"):
        sys.modules.pop(f"experiments.{name}", None)
        vars(experiments).pop(name, None)


@pytest.fixture
def child(fakes, monkeypatch):
    """`child(*arguments, before="", stderr=PIPE)` starts the command line in a process, after executing `before`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(experiments.__file__).parents[1]))
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    children = []

    def start(*arguments, before="", stderr=subprocess.PIPE):
        driver = fakes / "driver.py"
        driver.write_text(textwrap.dedent(before) + DRIVER)
        command = [sys.executable, str(driver), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        children.append(process)
        return process

    yield start
    for process in children:
        process.kill()
        process.communicate()
