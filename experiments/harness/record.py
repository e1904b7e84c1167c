"""Finished runs kept beside the documentation: `docs/recorded/<slug>/<preset>/`, what README and docs are made from.

A recorded run is a run folder without checkpoints, metrics and large arrays, and without any trace of the machine's
files: the command line is written anew from `config.json`, and of a path only its last part stays.
"""

import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.arguments import Parser
from experiments.harness.config import UsageError, choose
from experiments.harness.registry import papers
from experiments.harness.run_folder import RunFolder, runs_of
from jaxlib_methods.runtime.files import write_atomic

__all__ = ["command_words", "record_command", "recorded_runs"]

RECORDED = Path(__file__).parents[2] / "docs" / "recorded"

PATH = re.compile(r"(?<![\w.:/~])~?/(?:[^\s/'\"]+/)+")
MEAN_COLOR_CHANGE = 0.5  # of 255


def recorded_runs(slug: str) -> dict[str, RunFolder]:
    """The recorded runs of an experiment by preset, quick first."""
    folders = [path.parent for path in (RECORDED / slug).glob("*/claims.json")]
    return {folder.name: RunFolder(folder) for folder in sorted(folders, key=lambda f: (f.name != "quick", f.name))}


def command_words(config: Mapping[str, Any]) -> list[str]:
    """The arguments of `python -m experiments` that repeat the run of a `config.json`."""
    words = ["run", config["slug"], "--preset", config["preset"], "--seed", str(config["seed"])]
    words += [f"--config.{name}={value}" for name, value in config["overrides"].items()]
    return words + (["--mesh", config["mesh"]] if config["mesh"] else [])


def record_command(argv: list[str]) -> int:
    """Records every run that the arguments name and prints where it went."""
    parser = Parser("record", "Keeps finished runs in docs/recorded, from which README and docs are made.")
    parser.add_argument(
        "run", nargs="+", help="folder of a run, or an experiment: its newest finished run of each preset"
    )
    options = parser.parse(argv)
    for run in [run for name in options.run for run in _chosen(options.runs, name)]:
        print(_record(run))
    return 0


def _chosen(runs: Path, name: str) -> list[RunFolder]:
    """The run in the folder `name`, or the newest run of each preset of the experiment `name` that can be recorded."""
    if (Path(name) / "config.json").exists():
        run = RunFolder(Path(name))
        if reason := _unfit(run):
            raise UsageError(f"{name} {reason}")
        return [run]
    choose("run or experiment", name, [paper.slug for paper in papers()])
    newest = {run.read("config")["preset"]: run for run in runs_of(runs, name) if not _unfit(run)}
    if not newest:
        raise UsageError(f"{runs} holds no finished run of a preset of {name}")
    return list(newest.values())


def _unfit(run: RunFolder) -> str | None:
    """Why a run cannot be recorded."""
    if (state := run.state()) != "finished":
        return f"is not finished: {state}"
    changed = run.read("config")["overrides"]
    return f"is not the preset as it stands: it changes {', '.join(changed)}" if changed else None


def _record(run: RunFolder) -> Path:
    config, environment = run.read("config"), run.read("environment")
    environment["system"] = environment["system"].split("-")[0]
    environment["command"] = ["python", "-m", "experiments", *command_words(config)]
    target = RunFolder(RECORDED / config["slug"] / config["preset"])
    shutil.rmtree(target.path, ignore_errors=True)
    (target.path / "figures").mkdir(parents=True)
    contents = {
        "config": config,
        "environment": environment,
        "result": run.read("result"),
        "claims": run.read("claims"),
    }
    for name, content in contents.items():
        target.write(name, _without_paths(content))
    for figure in sorted((run.path / "figures").glob("*.png")):
        write_atomic(target.path / "figures" / figure.name, _smaller(figure))
    return target.path


def _without_paths(value: Any) -> Any:
    """The value with every absolute path in its texts cut down to the last part."""
    if isinstance(value, Mapping):
        return {name: _without_paths(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return PATH.sub("", value) if isinstance(value, str) else value


def _smaller(figure: Path) -> bytes:
    """The PNG in 256 colors, unless that is to be seen."""
    from PIL import Image

    image = Image.open(figure).convert("RGB")
    few = image.quantize(256, dither=Image.Dither.NONE)
    change = np.abs(np.asarray(image, int) - np.asarray(few.convert("RGB"), int)).mean()
    buffer = io.BytesIO()
    (few if change <= MEAN_COLOR_CHANGE else image).save(buffer, "png", optimize=True)
    return buffer.getvalue()
