"""The launcher prints commands that a shell reads as meant, runs nothing by itself, and names what is missing."""

import re
import shlex
import stat
import subprocess

import pytest
import yaml

from tpu.launch import HERE, STEPS, commands, main

GIVEN = "--zone us-east5-b --cluster blue --image here/lab:1 --repository https://example.org/x --share 10.0.0.2:/runs"
EXPERIMENT = ["gaussian_score", "--mesh", "data=16", "--config.skips", "0, 1"]
ALL_STEPS = [(target, step) for target, steps in STEPS.items() for step in steps]


def lines(text, experiment=EXPERIMENT):
    return commands([*text.split(), *GIVEN.split(), "--", *experiment])[1]


@pytest.mark.parametrize(("target", "step"), ALL_STEPS)
def test_every_step_is_printed_whole_and_not_executed(target, step, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    for dry in ([], ["--dry-run"]):
        assert main([target, step, *dry, *GIVEN.split(), "--", *EXPERIMENT]) == 0
        printed = capsys.readouterr().out
        assert re.match("gcloud|kubectl", printed)
        assert not re.search(r"[{}]|None", printed.replace("{containerName", "").replace("[2]}", ""))


@pytest.mark.parametrize(("target", "step"), ALL_STEPS)
def test_every_command_is_valid_in_the_shell(target, step):
    for line in lines(f"{target} {step}"):
        assert subprocess.run(["bash", "-n", "-c", line], capture_output=True).stderr == b""


def test_a_slice_is_a_policy_a_template_and_a_group_and_all_three_are_deleted():
    made = [shlex.split(line)[1:5] for line in lines("gce create --name demo --topology 4x8 --hosts 8")]
    assert [words[1] for words in made] == [
        "resource-policies",
        "instance-templates",
        "instance-groups",
        "instance-groups",
    ]
    policy, template, group, _ = (shlex.split(line) for line in lines("gce create --topology 4x8 --hosts 8"))
    assert {"--accelerator-topology=4x8", "--type=HIGH_THROUGHPUT", "--region=us-east5"} <= set(policy)
    assert {"--provisioning-model=FLEX_START", "--max-run-duration=8h", "--maintenance-policy=TERMINATE"} <= set(
        template
    )
    assert {"--size=8", "--target-size-policy-mode=bulk", "--zone=us-east5-b"} <= set(group)
    assert len(lines("gce delete")) == 3
    reserved = shlex.split(lines("gce create --reservation ours")[1])
    assert {"--provisioning-model=RESERVATION_BOUND", "--reservation=ours"} <= set(reserved)


@pytest.mark.parametrize(("target", "ssh"), [("gce", "gcloud compute ssh MACHINE"), ("tpu-vm", "--worker=all")])
def test_the_machines_get_the_experiment_word_by_word(target, ssh):
    (line,) = lines(f"{target} run --runs /mnt/runs")
    assert ssh in line
    (command,) = (word for word in shlex.split(line) if word.startswith("--command="))
    words = shlex.split(command.removeprefix("--command="))
    assert words == ["jaxlib_methods/tpu/worker.sh", "run", *EXPERIMENT, "--runs", "/mnt/runs", "--resume", "newest"]


def test_the_job_set_restarts_all_pods_and_describes_the_job_to_each():
    manifest = lines("gke run --name demo --hosts 8 --topology 4x8 --chips 4")[0].split("\n", 1)[1].removesuffix("END")
    job_set = yaml.safe_load(manifest)
    assert (job_set["apiVersion"], job_set["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert job_set["spec"]["failurePolicy"]["maxRestarts"] == 10
    (worker,) = job_set["spec"]["replicatedJobs"]
    job = worker["template"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"], job["backoffLimit"]) == ("Indexed", 8, 8, 0)
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x8",
    }
    (container,) = pod["containers"]
    assert container["args"] == ["run", *EXPERIMENT, "--runs", "/app/runs", "--resume", "newest"]
    assert container["image"] == "here/lab:1"
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment == {
        "JAX_COORDINATOR": f"demo-{worker['name']}-0-0.demo:8476",
        "JAX_NUM_PROCESSES": "8",
        "JAX_PROCESS_ID": None,
    }
    index = container["env"][-1]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/app/runs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gcp create", "unknown target 'gcp'; did you mean 'gce'?"),
        ("gce creat", "unknown step of gce 'creat'; did you mean 'create'?"),
        ("gke setup", "unknown step of gke 'setup'"),
        ("gce create", "gce create needs --zone"),
        ("gce setup --zone a-b", "gce setup needs --repository"),
        ("gke run --image x --", "gke run needs an experiment after --"),
        ("gke run -- gaussian_score", "gke run needs --image"),
        ("tpu-vm run --zone a-b", "tpu-vm run needs an experiment after --"),
        ("gce create --zon a-b", "unknown option '--zon'; did you mean '--zone'?"),
        ("gce", "required: step"),
    ],
)
def test_mistakes_are_answered_in_one_line_with_code_two(arguments, message, capsys):
    assert main(arguments.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert message in output.err


def test_execute_runs_the_commands_in_order_until_one_fails(tmp_path, monkeypatch, capfd):
    stub = tmp_path / "gcloud"
    stub.write_text(f'#!/bin/bash\necho "$3" >> {tmp_path}/log\n[ "$2" != instance-templates ] || exit 3\n')
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert main(["gce", "create", "--execute", *GIVEN.split()]) == 3
    assert (tmp_path / "log").read_text().split() == ["create", "create"]


def test_a_machine_of_a_slice_finds_the_others_in_its_metadata(tmp_path, monkeypatch):
    (tmp_path / "tpu").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    worker = tmp_path / "tpu" / "worker.sh"
    worker.write_text((HERE / "worker.sh").read_text())
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/bash\necho "$JAX_COORDINATOR $JAX_NUM_PROCESSES $JAX_PROCESS_ID" "$@"\n')
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/bash\ncase "${@: -1}" in */agent-worker-number) echo 1;; *) echo "$ENDPOINTS";; esac\n')
    for script in (worker, python, curl):
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for endpoints in ("a:0:10.0.0.7,b:1:10.0.0.8", "10.0.0.7,10.0.0.8"):
        monkeypatch.setenv("ENDPOINTS", endpoints)
        said = subprocess.run([worker, "run", "x y"], capture_output=True, text=True, check=True).stdout
        assert said == "10.0.0.7:8476 2 1 -m experiments run x y\n"
