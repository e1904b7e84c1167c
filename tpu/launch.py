"""Prints the commands that run an experiment on a TPU slice, or runs them: `python -m tpu.launch TARGET STEP`.

    python -m tpu.launch gce create --name demo --zone us-east5-b --topology 4x4 --hosts 4
    python -m tpu.launch gce run --name demo --zone us-east5-b -- gaussian_score --mesh data=16

TARGET   gce      Compute Engine: a managed instance group that forms the slice
         gke      Kubernetes: a node pool that forms the slice, and a JobSet on it
         tpu-vm   legacy: the older Cloud TPU API, which gets only fixes and does not know TPU7x or later
STEP     create   the machines
         setup    the repository, its environment and the shared folder of runs on them (gke: see tpu/Dockerfile)
         run      the experiment named after `--`, with options of `python -m experiments run`, or go on with it
         stop     the experiment, with its state saved
         delete   the machines

Nothing is executed without --execute. The commands need gcloud with a project, and kubectl for gke.
"""

import json
import shlex
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from experiments.harness.arguments import Parser
from experiments.harness.config import UsageError, choose

__all__ = ["commands", "main"]

HERE = Path(__file__).parent
ON_MACHINES = {
    "setup": "curl -LsSf https://astral.sh/uv/install.sh | sh && git clone {repository} jaxlib_methods"
    " && cd jaxlib_methods && ~/.local/bin/uv venv --python 3.12"
    " && ~/.local/bin/uv pip install --group experiments -e '.[tpu,runtime,nnx]'"
    " && sudo apt-get install -qq nfs-common && mkdir -p {runs} && sudo mount {share} {runs}",
    "run": "jaxlib_methods/tpu/worker.sh run {experiment} --runs {runs} --resume newest",
    "stop": "pkill -TERM -f '[m] experiments run'",
}
FLEX_START = "--provisioning-model=FLEX_START --max-run-duration={hours}h --reservation-affinity=none"
RESERVED = "--provisioning-model=RESERVATION_BOUND --reservation-affinity=specific --reservation={reservation}"
ON_GROUP = (
    "gcloud compute instance-groups managed list-instances {name} --zone={zone} --format='value(name)'"
    " | xargs -P 0 -I MACHINE gcloud compute ssh MACHINE --zone={zone} --command={command}"
)
ON_TPU_VM = "gcloud compute tpus tpu-vm ssh {name} --zone={zone} --worker=all --command={command}"
FIRST_POD = "jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
STEPS = {
    "gce": {
        "create": [
            "gcloud compute resource-policies create workload-policy {name} --region={region}"
            " --type=HIGH_THROUGHPUT --accelerator-topology={topology}",
            "gcloud compute instance-templates create {name} --machine-type={machine_type}"
            " --image-project=ubuntu-os-accelerator-images --image-family={image_family} --boot-disk-size=200GB"
            " {capacity} --instance-termination-action=DELETE --maintenance-policy=TERMINATE",
            "gcloud compute instance-groups managed create {name} --zone={zone} --template={name} --size={hosts}"
            " --target-size-policy-mode=bulk --default-action-on-vm-failure=do-nothing --workload-policy="
            '"projects/$(gcloud config get project)/regions/{region}/resourcePolicies/"{name}',
            "gcloud compute instance-groups managed wait-until {name} --zone={zone} --stable",
        ],
        "setup": [ON_GROUP],
        "run": [ON_GROUP],
        "stop": [ON_GROUP],
        "delete": [
            "gcloud compute instance-groups managed delete {name} --zone={zone} --quiet",
            "gcloud compute instance-templates delete {name} --quiet",
            "gcloud compute resource-policies delete {name} --region={region} --quiet",
        ],
    },
    "gke": {
        "create": [
            "gcloud container node-pools create {name} --cluster={cluster} --location={location}"
            " --node-locations={zone} --machine-type={machine_type} --tpu-topology={topology} --num-nodes={hosts}",
            "gcloud container clusters get-credentials {cluster} --location={location}",
            "kubectl apply --server-side --filename="
            "https://github.com/kubernetes-sigs/jobset/releases/latest/download/manifests.yaml",
        ],
        "run": [
            "kubectl apply --filename=- <<'END'\n{manifest}END",
            f"kubectl wait pod --for=condition=Ready --timeout=1h --selector={FIRST_POD}",
            f"kubectl logs --follow --selector={FIRST_POD}",
        ],
        "stop": ["kubectl delete jobset {name}"],
        "delete": ["gcloud container node-pools delete {name} --cluster={cluster} --location={location} --quiet"],
    },
    "tpu-vm": {
        "create": [
            "gcloud compute tpus tpu-vm create {name} --zone={zone} --accelerator-type={accelerator_type}"
            " --version={version}"
        ],
        "setup": [ON_TPU_VM],
        "run": [ON_TPU_VM],
        "stop": [ON_TPU_VM],
        "delete": ["gcloud compute tpus tpu-vm delete {name} --zone={zone} --quiet"],
    },
}


def main(argv: Sequence[str]) -> int:
    """Prints the commands, and executes them if told to; the exit code of the first that fails, or 2 for a mistake."""
    try:
        execute, lines = commands(list(argv))
    except UsageError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    for line in lines:
        print(line, flush=True)
        if execute and (code := subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=False).returncode):
            return code
    return 0


def commands(argv: list[str]) -> tuple[bool, list[str]]:
    """Whether to execute, and the shell commands of the step.

    Raises:
      UsageError: for an unknown target, step or option, or a missing one.
    """
    cut = argv.index("--") if "--" in argv else len(argv)
    options, experiment = _parser().parse(argv[:cut]), argv[cut + 1 :]
    steps = STEPS[choose("target", options.target, STEPS)]
    lines = steps[choose(f"step of {options.target}", options.step, steps)]
    values = {name: shlex.quote(str(value)) for name, value in vars(options).items() if value is not None}
    if experiment:
        values["experiment"] = shlex.join(experiment)
    if options.zone:
        values = {"location": values["zone"], "region": values["zone"].rpartition("-")[0]} | values
    values["capacity"] = (RESERVED if options.reservation else FLEX_START).format_map(values)
    try:
        if options.target == "gke":
            values["manifest"] = _manifest(values, experiment) if options.step == "run" else ""
        elif options.step in ON_MACHINES:
            values["command"] = shlex.quote(ON_MACHINES[options.step].format_map(values))
        return options.execute, [line.format_map(values) for line in lines]
    except KeyError as error:
        name = error.args[0].lower()
        words = {"experiment": "an experiment after --", "region": "--zone", "location": "--zone"}
        missing = words.get(name, f"--{name.replace('_', '-')}")
        raise UsageError(f"{options.target} {options.step} needs {missing}") from error


def _manifest(values: dict[str, str], experiment: list[str]) -> str:
    """The JobSet of `gke_jobset.yaml` with its names filled in."""
    if not experiment:
        raise KeyError("experiment")
    runs = str(PurePosixPath("/app") / values["runs"])
    arguments = json.dumps(["run", *experiment, "--runs", runs, "--resume", "newest"])
    filled = {name.upper(): value for name, value in values.items()} | {"RUNS": runs, "ARGUMENTS": arguments}
    return string.Template((HERE / "gke_jobset.yaml").read_text()).substitute(filled)


def _parser() -> Parser:
    parser = Parser("TARGET STEP", __doc__ or "", "python -m tpu.launch")
    parser.add_argument("target", help="gce, gke or tpu-vm")
    parser.add_argument("step", help="create, setup, run, stop or delete")
    parser.add_argument("--execute", action="store_true", help="run the commands, too")
    parser.add_argument("--dry-run", action="store_false", dest="execute", help="only print the commands (default)")
    parser.add_argument("--name", default="experiments", help="of all that is made (default: experiments)")
    parser.add_argument("--zone", help="such as us-east5-b")
    parser.add_argument("--hosts", type=int, default=4, help="machines of the slice (default: 4)")
    parser.add_argument("--topology", default="4x4", help="of the slice's chips (default: 4x4)")
    parser.add_argument("--machine-type", default="ct6e-standard-4t", help="(default: ct6e-standard-4t)")
    parser.add_argument("--repository", help="setup: address for git clone")
    parser.add_argument("--share", help="setup: NFS export HOST:/PATH, mounted as the folder of runs")
    group = parser.add_argument_group("gce")
    group.add_argument("--image-family", default="ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e", help="of the boot disk")
    group.add_argument("--reservation", help="where the machines come from (default: flex-start)")
    group.add_argument("--hours", type=int, default=8, help="of flex-start, then the machines go (default: 8)")
    group = parser.add_argument_group("gke")
    group.add_argument("--cluster", help="an existing cluster")
    group.add_argument("--location", help="of the cluster (default: the zone)")
    group.add_argument("--image", help="container image made from tpu/Dockerfile")
    group.add_argument("--accelerator", default="tpu-v6e-slice", help="label of the nodes (default: tpu-v6e-slice)")
    group.add_argument("--chips", type=int, default=4, help="of one machine (default: 4)")
    group.add_argument("--claim", default="runs", help="ReadWriteMany volume claim for the runs (default: runs)")
    group = parser.add_argument_group("tpu-vm")
    group.add_argument("--accelerator-type", default="v6e-16", help="(default: v6e-16)")
    group.add_argument("--version", default="v2-alpha-tpuv6e", help="of the runtime (default: v2-alpha-tpuv6e)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
