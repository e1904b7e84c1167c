"""What is recorded is what the run found, without a trace of the machine's files; half runs are not recorded."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from experiments.harness.command_line import main
from experiments.harness.record import PATH, RECORDED, recorded_runs
from experiments.harness.registry import papers
from experiments.harness.run_folder import runs_of

FILES = {"claims.json", "config.json", "environment.json", "result.json", "figures/line.png", "figures/digits.png"}


@pytest.fixture
def recorded(fakes):
    """`recorded(command, ...)` runs and records the fake experiment and returns its recorded runs."""

    def record(*options):
        for option in options:
            assert main(["run", "fake_mean", *option.split()]) == 0
        assert main(["record", "fake_mean"]) == 0
        return recorded_runs("fake_mean")

    return record


def test_claims_and_configuration_are_those_of_the_run(recorded, fakes):
    kept = recorded("--seed 5 --mesh data=8")["quick"]
    (run,) = runs_of(fakes / "runs", "fake_mean")
    names = {str(path.relative_to(kept.path)) for path in kept.path.rglob("*") if path.is_file()}
    assert names == FILES
    for name in ("claims", "config", "result"):
        assert kept.read(name) == run.read(name)
    assert kept.read("environment")["device_count"] == 8


def test_nothing_tells_where_the_run_was_made(recorded, fakes):
    os.mkdir(fakes / "data")
    kept = recorded(f"--data-dir {fakes}/data")["quick"]
    text = "".join(path.read_text() for path in kept.path.glob("*.json"))
    (run,) = runs_of(fakes / "runs", "fake_mean")
    assert str(fakes) in (run.path / "environment.json").read_text()
    for secret in (str(fakes), "data-dir", socket.gethostname(), '"pid"', os.uname().release):
        assert secret not in text
    words = kept.read("environment")["command"]
    assert words == ["python", "-m", "experiments", "run", "fake_mean", "--preset", "quick", "--seed", "0"]


def test_of_a_path_in_a_text_the_last_part_stays(recorded, fakes):
    source = (fakes / "fake_mean.py").read_text()
    (fakes / "fake_mean.py").write_text(
        source.replace("needs the preset full", "no /mnt/big/set.gz; 3/4 of it, ~/sets/x, is at https://here.org/a/b")
    )
    *_, claim = recorded("")["quick"].read("claims")
    assert claim["measured"] == "no set.gz; 3/4 of it, x, is at https://here.org/a/b"


def test_the_newest_finished_run_of_each_preset_is_taken(recorded, fakes, capsys):
    main(["run", "fake_mean", "--config.fault", "raise"])
    main(["run", "fake_mean", "--config.points", "32"])
    kept = recorded("--seed 1", "--preset full", "--seed 2")
    assert list(kept) == ["quick", "full"]
    assert kept["quick"].read("config")["seed"] == 2
    assert capsys.readouterr().out.endswith(f"{kept['quick'].path}\n{kept['full'].path}\n")


def test_a_run_given_by_its_folder_replaces_the_recorded_one(recorded, fakes):
    recorded("--seed 1", "--seed 2")
    older, _ = runs_of(fakes / "runs", "fake_mean")
    assert main(["record", str(older.path)]) == 0
    assert recorded_runs("fake_mean")["quick"].read("config")["seed"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--config.fault raise", "is not finished: failed"),
        ("--config.points 32", "is not the preset as it stands: it changes points"),
    ],
)
def test_half_runs_and_changed_presets_are_refused(fakes, capsys, options, message):
    main(["run", "fake_mean", *options.split()])
    (run,) = runs_of(fakes / "runs", "fake_mean")
    capsys.readouterr()
    assert main(["record", str(run.path)]) == 2
    assert capsys.readouterr().err == f"error: {run.path} {message}\n"
    assert main(["record", "fake_mean"]) == 2
    assert capsys.readouterr().err == "error: runs holds no finished run of a preset of fake_mean\n"
    assert not (fakes / "docs").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("record", "required: run"),
        ("record fake_men", "unknown run or experiment 'fake_men'; did you mean 'fake_mean'?"),
    ],
)
def test_mistakes_are_answered_in_one_line(fakes, capsys, command, message):
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err


def test_figures_are_smaller_and_look_the_same(recorded, fakes):
    kept = recorded("")["quick"]
    (run,) = runs_of(fakes / "runs", "fake_mean")
    for ours in (kept.path / "figures").glob("*.png"):
        theirs = run.path / "figures" / ours.name
        assert ours.stat().st_size < theirs.stat().st_size
        pixels = [np.asarray(Image.open(path).convert("RGB"), int) for path in (ours, theirs)]
        assert np.abs(pixels[0] - pixels[1]).mean() <= 0.5


def test_a_figure_of_many_colors_keeps_them(recorded, fakes):
    recorded("")
    (run,) = runs_of(fakes / "runs", "fake_mean")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(run.path / "figures" / "line.png")
    kept = recorded()["quick"]
    np.testing.assert_array_equal(np.asarray(Image.open(kept.path / "figures" / "line.png")), noise)


def test_every_recorded_run_of_the_project_is_whole_and_small():
    slugs = [paper.slug for paper in papers()]
    folders = {path.parent for path in RECORDED.glob("*/*/*.json")}
    runs = [(slug, preset, run) for slug in slugs for preset, run in recorded_runs(slug).items()]
    assert {run.path for *_, run in runs} == folders
    for slug, preset, run in runs:
        config = run.read("config")
        assert (config["slug"], config["preset"], config["overrides"]) == (slug, preset, {})
        assert run.read("claims")
        assert run.read("result")["timings"]
        assert not [path for path in run.path.glob("*.json") if PATH.search(path.read_text())]
        assert all(path.stat().st_size < 500_000 for path in run.path.rglob("*"))
