"""The command line does what it says: exit codes, folders, JSON, resumption, and one line for every mistake."""

import json
import os
import pty
import re
import shutil
import signal
import threading
import time

import pytest

from experiments.harness import bench
from experiments.harness.command_line import main
from experiments.harness.progress import progress
from experiments.harness.run_folder import RunFolder, runs_of

FILES = {"config.json", "environment.json", "status.json", "metrics.jsonl", "claims.json", "result.json", "figures"}
CLAIM = {"id", "statement", "source", "origin", "expected", "measured", "tolerance", "status", "passed"}


def only_run(root, slug):
    (run,) = runs_of(root / "runs", slug)
    return run


def claims_bytes(run):
    return (run.path / "claims.json").read_bytes()


USAGE_ERRORS = [
    ("rnu fake_mean", "unknown command 'rnu'; did you mean 'run'?"),
    ("run", "required: slug"),
    ("run fake_men", "unknown experiment 'fake_men'; did you mean 'fake_mean'?"),
    ("run fake_planned", "fake_planned is not implemented yet"),
    ("run fake_mean --preset quik", "unknown preset of fake_mean 'quik'; did you mean 'quick'?"),
    ("run fake_mean --presett quick", "unknown option '--presett'; did you mean '--preset'?"),
    ("run fake_mean extra", "unexpected argument 'extra'"),
    ("run fake_mean --config.pionts 3", "unknown field '--config.pionts'; did you mean '--config.points'?"),
    ("run fake_mean --config.points three", "--config.points must be of type int, got 'three'"),
    ("run fake_mean --config.points", "--config.points needs a value"),
    ("run fake_mean --config.points 0", "points must be at least 1, got 0"),
    ("run fake_mean --config.inner.witdh 3", "did you mean '--config.inner.width'?"),
    ("run fake_mean --confg.points 3", "unknown option '--confg.points'; did you mean '--config.FIELD'?"),
    ("run fake_mean --config.solver heum", "did you mean 'heun'?"),
    ("run fake_mean --config.dataset digit", "unknown data set 'digit'; did you mean 'digits'?"),
    ("run fake_mean --seed one", "--seed"),
    ("run fake_mean --seed -1", "--seed must be between 0 and"),
    ("run fake_mean --mesh data", "--mesh"),
    ("run fake_mean --mesh data=0", "--mesh"),
    ("run fake_mean --mesh dta=8", "--mesh dta=8 must have an axis named data"),
    ("run fake_mean --mesh data=100000", "needs 100000 devices, available: 8"),
    ("run fake_mean --data-dir nowhere", "--data-dir nowhere is not a folder"),
    ("run fake_mean --resume 20200101", "unknown run of fake_mean '20200101'"),
    ("run fake_mean --resume=", "unknown run of fake_mean ''"),
    ("run all --config.points 3", "run all takes neither --config fields nor --resume"),
    ("run all --preset quik", "did you mean 'quick'?"),
    ("list --jsn", "did you mean '--json'?"),
    ("report --readme missing.md", "--readme missing.md: No such file or directory"),
    ("report --readme .", "--readme .: Is a directory"),
    ("bench fake_men", "did you mean 'fake_mean'?"),
]


@pytest.mark.parametrize(("command", "message"), USAGE_ERRORS)
def test_mistakes_are_answered_in_one_line_with_code_two_and_leave_nothing(fakes, capsys, command, message):
    assert main(command.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert message in output.err
    assert not (fakes / "runs").exists()


def test_without_a_command_the_commands_are_explained(capsys):
    assert main([]) == 2
    assert "run SLUG | all" in capsys.readouterr().out
    assert main(["--help"]) == 0


def test_a_run_leaves_a_complete_folder_and_prints_its_claims(fakes, capsys):
    assert main(["run", "fake_mean", "--seed", "7", "--config.points", "32", "--config.inner.rate=0.5"]) == 0
    run = only_run(fakes, "fake_mean")
    assert {path.name for path in run.path.iterdir()} >= FILES
    assert sorted(path.name for path in (run.path / "figures").iterdir()) == ["digits.png", "line.png"]
    config = run.read("config")
    assert config["overrides"] == {"points": "32", "inner.rate": "0.5"}
    assert (config["config"]["points"], config["config"]["inner"]["rate"]) == (32, 0.5)
    assert (config["slug"], config["preset"], config["seed"], config["mesh"]) == ("fake_mean", "quick", 7, None)
    assert run.state() == "finished"
    assert {"run", "claims"} <= set(run.read("result")["timings"])
    assert [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert {"mean", "devices", "full"} == {claim["id"] for claim in run.read("claims")}
    output = capsys.readouterr()
    assert re.search(r"mean +0 ± 1 +-0\.\d+ +reproduced +The mean & more\.", output.out)
    assert "2/2 claims reproduced" in output.out
    assert "sizes: 2/2" in output.err


def test_progress_is_a_bar_on_a_terminal_and_nothing_in_other_processes(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress(range(3), "bar")) == [0, 1, 2]
    assert re.search(r"bar: 100%.*3/3", capsys.readouterr().err)
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert list(progress(range(3), "bar")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.runs
def test_the_bar_is_drawn_on_a_terminal_that_does_not_know_its_size(child):
    program = """
        from experiments.harness.progress import progress
        list(progress(range(3), "bar"))
        raise SystemExit
    """
    ours, theirs = pty.openpty()
    child(before=program, stderr=theirs).wait(timeout=60)
    assert "bar: 100%" in os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)


def test_a_claim_that_fails_gives_code_one(fakes):
    assert main(["run", "fake_mean", "--config.expected", "5"]) == 1
    assert only_run(fakes, "fake_mean").state() == "finished"


def test_json_prints_the_list_of_claims_and_nothing_else_on_standard_output(fakes, capsys):
    assert main(["run", "fake_mean", "--json", "--config.fault", "print"]) == 0
    output = capsys.readouterr()
    claims = json.loads(output.out, parse_constant=pytest.fail)
    assert all(set(claim) == CLAIM for claim in claims)
    assert claims == only_run(fakes, "fake_mean").read("claims")
    assert "chatter" in output.err


def test_an_experiment_that_raises_is_told_in_one_line_and_keeps_its_traceback(fakes, capsys):
    assert main(["run", "fake_mean", "--json", "--config.fault", "raise"]) == 1
    run = only_run(fakes, "fake_mean")
    output = capsys.readouterr()
    assert json.loads(output.out) == []
    last = output.err.splitlines()[-1]
    assert "fake_mean failed: RuntimeError: this one fails <on purpose> and says more" in last
    assert "Traceback" not in output.err
    assert "Traceback" in (run.path / "traceback.txt").read_text()
    assert run.state() == "failed"


def test_a_missing_data_file_is_told_in_one_line(fakes, capsys, monkeypatch):
    monkeypatch.setattr("jaxlib_methods.runtime.data._table", lambda: {"files": {}, "origin": {}})
    monkeypatch.setattr("jaxlib_methods.runtime.data._require_known", lambda *_: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(fakes))
    assert main(["run", "fake_mean", "--config.dataset", "mnist"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: fake_mean failed:")


def test_a_mesh_of_eight_reaches_the_experiment_and_one_device_is_no_mesh(fakes):
    assert main(["run", "fake_mean", "--mesh", "data=8", "--runs", "eight"]) == 0
    assert main(["run", "fake_mean", "--mesh", "data=1", "--runs", "one"]) == 0
    (eight,), (one,) = runs_of(fakes / "eight", "fake_mean"), runs_of(fakes / "one", "fake_mean")
    assert (eight.read("result")["result"]["devices"], one.read("result")["result"]["devices"]) == (8, 1)
    assert eight.read("config")["mesh"] == "data=8"


def test_an_unwritable_place_for_runs_is_told_in_one_line(fakes, capsys):
    (fakes / "file").write_text("not a folder")
    assert main(["run", "fake_mean", "--runs", "file/runs"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: cannot make a run folder in file/runs/fake_mean: Not a directory"


def test_list_shows_all_papers_and_how_they_stand(fakes, capsys):
    main(["run", "fake_mean", "--config.expected", "5"])
    capsys.readouterr()
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fake_mean", "fake_training", "fake_planned"]
    assert [re.search(r"tests  (.+?)  ", line + "  ").group(1) for line in lines] == [
        "implemented: 1/2 claims reproduced",
        "implemented: not run",
        "planned",
    ]
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["slug"], row["implemented"]) for row in rows] == [
        ("fake_mean", True),
        ("fake_training", True),
        ("fake_planned", False),
    ]


def test_the_thirty_papers_have_slugs_of_their_own():
    from experiments.harness.registry import papers

    assert len({paper.slug for paper in papers()}) == 30


def test_run_all_goes_on_after_a_failure_and_sums_up(fakes, capsys):
    source = (fakes / "fake_mean.py").read_text()
    (fakes / "fake_mean.py").write_text(source.replace('fault: str = ""', 'fault: str = "raise"'))
    assert main(["run", "all", "--json"]) == 1
    output = capsys.readouterr()
    outcomes = json.loads(output.out)
    assert {slug: outcome["status"] for slug, outcome in outcomes.items()} == {
        "fake_mean": "failed",
        "fake_training": "finished",
    }
    assert [claim["id"] for claim in outcomes["fake_training"]["claims"]] == ["weights", "losses"]
    assert re.search(r"fake_training +finished +\d+ s  2/2 claims", output.err)


def test_training_shares_metrics_and_checkpoints_with_its_run(fakes):
    assert main(["run", "fake_training", "--mesh", "data=8"]) == 0
    run = only_run(fakes, "fake_training")
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record.get("training") == "line"] == list(range(5, 41, 5))
    assert (run.path / "checkpoints" / "line").is_dir()
    assert "line" in run.read("result")["timings"]


@pytest.fixture
def interrupted(fakes, capsys, monkeypatch):
    """A training run of this process that stopped after some steps because of SIGTERM; with its uninterrupted twin."""
    assert main(["run", "fake_training", "--seed", "3", "--runs", "whole"]) == 0
    (whole,) = runs_of(fakes / "whole", "fake_training")
    timer = threading.Timer(2.5, os.kill, [os.getpid(), signal.SIGTERM])
    timer.start()
    code = main(["run", "fake_training", "--seed", "3", "--config.seconds_per_step", "0.1"])
    timer.join()
    assert code == 143
    run = only_run(fakes, "fake_training")
    assert f"run fake_training --resume {run.path.relative_to(fakes)}" in capsys.readouterr().err
    return run, whole


def test_sigterm_saves_the_state_and_the_resumed_run_ends_bit_identical(interrupted, fakes, capsys):
    run, whole = interrupted
    assert run.state() == "interrupted"
    assert list((run.path / "checkpoints" / "line").iterdir())
    for conflict in ("--seed 4", "--mesh data=8", "--config.steps 50"):
        assert main(["run", "fake_training", "--resume", str(run.path), *conflict.split()]) == 2
        assert "conflicts with the run" in capsys.readouterr().err
    assert main(["run", "fake_training", "--resume", run.path.name, "--seed", "3"]) == 0
    assert claims_bytes(run) == claims_bytes(whole)
    assert run.state() == "finished"
    assert main(["run", "fake_training", "--resume", run.path.name]) == 2
    assert "is finished; there is nothing to resume" in capsys.readouterr().err


def test_sigterm_outside_training_stops_at_once_and_can_be_resumed(fakes, capsys):
    timer = threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGTERM])
    timer.start()
    started = time.monotonic()
    assert main(["run", "fake_training", "--config.before", "5"]) == 143
    timer.join()
    assert time.monotonic() - started < 4
    run = only_run(fakes, "fake_training")
    assert run.state() == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.runs
def test_a_killed_run_is_recognised_and_resumed_from_the_command_line_bit_identical(child, fakes):
    whole = child("run", "fake_training", "--runs", "whole")
    killed = child("run", "fake_training", "--config.seconds_per_step", "0.1")
    checkpoints = lambda: list((fakes / "runs").glob("fake_training/*/checkpoints/line/1*"))
    while not checkpoints():
        assert killed.poll() is None
        time.sleep(0.05)
    run = only_run(fakes, "fake_training")
    assert run.state() == "running"
    assert main(["run", "fake_training", "--resume", run.path.name]) == 2
    killed.kill()
    killed.wait()
    assert run.state() == "died"
    assert run.read("status")["status"] == "running"
    resumed = child("run", "fake_training", "--resume", run.path.name, "--json")
    output, errors = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, errors
    assert whole.wait(timeout=60) == 0
    (twin,) = runs_of(fakes / "whole", "fake_training")
    assert claims_bytes(run) == claims_bytes(twin)
    assert json.loads(output) == twin.read("claims")
    steps = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "training" in line] == list(range(5, 41, 5))


@pytest.mark.runs
def test_a_child_told_to_terminate_exits_with_143_and_simulates_its_devices(child, fakes):
    process = child("run", "fake_training", "--mesh", "data=4", "--config.seconds_per_step", "0.1")
    while not list((fakes / "runs").glob("fake_training/*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "--resume runs/fake_training/" in errors
    run = only_run(fakes, "fake_training")
    assert run.state() == "interrupted"
    assert run.read("environment")["device_count"] == 4


@pytest.mark.runs
def test_a_full_disk_is_told_in_one_line_and_loses_nothing(child, fakes):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    process = child("run", "fake_mean", "--config.fault", "big", before=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    last = errors.splitlines()[-1]
    assert "fake_mean failed: the disk is full" in last
    assert "result.npz" in last
    assert "Traceback" not in errors
    run = only_run(fakes, "fake_mean")
    assert run.state() == "failed"
    assert not list(run.path.glob("*.partial"))


def test_a_benchmark_without_its_peer_says_what_to_install(fakes, monkeypatch, capsys):
    monkeypatch.setattr(bench, "BENCHMARKS", fakes)
    (fakes / "fake_mean.py").write_text("def cases():\n    import torhc\n    yield\n")
    assert main(["bench", "fake_mean"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: benchmarks of fake_mean: No module named 'torhc'; install the dependency group peers"


def test_without_devices_the_platform_is_named(fakes, monkeypatch, capsys):
    def devices():
        raise RuntimeError("no such backend")

    monkeypatch.setattr("jax.devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    assert main(["run", "fake_mean"]) == 2
    assert "JAX finds no devices with JAX_PLATFORMS='abacus'" in capsys.readouterr().err
    assert not (fakes / "runs").exists()


def test_a_run_in_a_folder_held_by_another_process_is_not_resumed(fakes, capsys):
    main(["run", "fake_mean"])
    run = only_run(fakes, "fake_mean")
    run.write_status("running")
    run.lock()
    assert RunFolder(run.path).state() == "running"
    assert main(["run", "fake_mean", "--resume", run.path.name]) == 2
    assert "is still running (process " in capsys.readouterr().err
    run.unlock()


def test_the_newest_unfinished_run_is_resumed_or_a_new_one_begun(fakes):
    assert main(["run", "fake_mean", "--resume", "newest", "--config.fault", "raise"]) == 1
    broken = only_run(fakes, "fake_mean")
    assert main(["run", "fake_mean"]) == 0
    assert main(["run", "fake_mean", "--resume", "newest"]) == 1
    assert len(runs_of(fakes / "runs", "fake_mean")) == 2
    shutil.rmtree(broken.path)
    assert main(["run", "fake_mean", "--resume", "newest"]) == 0
    assert [run.state() for run in runs_of(fakes / "runs", "fake_mean")] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("variables", "code", "message"),
    [
        ({"JAX_COORDINATOR": "here:1"}, 2, "JAX_NUM_PROCESSES, JAX_PROCESS_ID must be set as well"),
        ({"JAX_HEARTBEAT_TIMEOUT": "5"}, 2, "JAX_HEARTBEAT_TIMEOUT must be a whole number of seconds, at least 10"),
    ],
)
def test_a_job_that_is_badly_described_is_told_in_one_line(fakes, capsys, monkeypatch, variables, code, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "fake_mean"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_job_that_cannot_be_joined_is_told_in_one_line(fakes, capsys, monkeypatch):
    def join_job(*, grace):
        raise RuntimeError("deadline\nexceeded")

    monkeypatch.setattr("experiments.harness.job.join_job", join_job)
    assert main(["run", "fake_mean"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: cannot join the other processes: deadline exceeded"


def test_what_a_run_logged_before_its_first_checkpoint_is_logged_anew(fakes):
    assert main(["run", "fake_training"]) == 0
    run = only_run(fakes, "fake_training")
    metrics = (run.path / "metrics.jsonl").read_bytes()
    shutil.rmtree(run.path / "checkpoints")
    run.write_status("running")
    assert main(["run", "fake_training", "--resume", run.path.name]) == 0
    assert (run.path / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{"), ("config.json", "{}"), ("config.json", '{"slug": "fake_mean"}'), ("status.json", "")],
)
def test_a_damaged_run_is_not_resumed(fakes, capsys, file, content):
    main(["run", "fake_mean", "--config.fault", "raise"])
    run = only_run(fakes, "fake_mean")
    (run.path / file).write_text(content)
    capsys.readouterr()
    assert main(["run", "fake_mean", "--resume", run.path.name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(run.path) in line or run.path.name in line


def test_a_moved_run_is_resumed_by_its_new_path(fakes):
    main(["run", "fake_mean", "--config.fault", "raise"])
    moved = only_run(fakes, "fake_mean").path.rename(fakes / "Läufe, alte")
    assert main(["run", "fake_mean", "--resume", str(moved), "--runs", "elsewhere"]) == 1
    assert not (fakes / "elsewhere").exists()


@pytest.mark.runs
def test_a_reader_that_has_seen_enough_is_no_error(child):
    process = child("list", "--json")
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + signal.SIGPIPE, "")
