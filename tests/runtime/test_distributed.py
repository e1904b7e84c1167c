"""Oracles: two real processes on this machine, described in two ways, add up the same array."""

import os
import socket
import subprocess
import sys

import pytest

from jaxlib_methods.runtime.distributed import job_kind

SUM = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
from jaxlib_methods.runtime.distributed import is_first_process, join_job
assert join_job()
import numpy as np
from jaxlib_methods.runtime.mesh import make_mesh, to_host
mesh = make_mesh(f"data={jax.device_count()}")
rows = jax.NamedSharding(mesh, jax.P("data"))
mine = np.arange(8.0, dtype=np.float32) + 8 * jax.process_index()
x = jax.make_array_from_process_local_data(rows, mine)
total = jax.jit(lambda x: x.sum(), out_shardings=jax.NamedSharding(mesh, jax.P()))(x)
assert np.array_equal(to_host(x), np.arange(16.0))
if is_first_process():
    print("devices", jax.device_count(), "sum", float(total))
jax.distributed.shutdown()
"""


TORN = """
import sys, jax
jax.config.update("jax_num_cpu_devices", 2)
from jaxlib_methods.runtime.distributed import is_first_process, join_job
assert join_job()
import jax.numpy as jnp
from jaxlib_methods.runtime import Checkpointer, make_mesh, replicate, shard_rows, to_host
mesh = make_mesh("data=4")
state = lambda step: {"rows": shard_rows(step + jnp.arange(8.0), mesh), "whole": replicate(jnp.ones(3) * step, mesh)}
read = Checkpointer._read_state
def torn(self, step, wanted):
    if step == 2 and not is_first_process():
        raise OSError("its part is torn")
    return read(self, step, wanted)
Checkpointer._read_state = torn
with Checkpointer(sys.argv[1]) as checkpointer:
    checkpointer.save(1, state(1.0))
    checkpointer.save(2, state(2.0))
    step, restored = checkpointer.restore(state(0.0))
    print(step, to_host(restored)["rows"].tolist(), to_host(restored)["whole"].tolist())
jax.distributed.shutdown()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def explicit(index, port):
    return {"JAX_COORDINATOR": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(index)}


def slurm(index, port):
    job = str(port)  # JAX derives the coordinator's port from the job's number
    return {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }


def said_by_two(describe, *program):
    """Runs the program in two processes and returns the lines that each prints."""
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *program],
            env=os.environ | {"JAX_PLATFORMS": "cpu"} | describe(index, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    results = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results[0][1] + results[1][1]
    return [
        [line for line in output.splitlines() if line and "Gloo" not in line and "peer" not in line]
        for output, _ in results
    ]


@pytest.mark.runs
@pytest.mark.parametrize("describe", [explicit, slurm])
def test_two_processes_become_one_mesh(describe):
    assert said_by_two(describe, SUM) == [["devices 8 sum 120.0"], []]


@pytest.mark.runs
def test_a_step_that_one_process_cannot_read_is_passed_over_by_both(tmp_path):
    assert said_by_two(explicit, TORN, tmp_path) == [[f"1 {[1.0 + i for i in range(8)]} [1.0, 1.0, 1.0]"]] * 2


def test_each_kind_of_job_is_recognised_by_its_variables():
    assert job_kind({}) is None
    assert job_kind({"SLURM_JOB_ID": "1"}) is None
    assert job_kind({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None
    assert job_kind(slurm(0, 1)) == "slurm"
    assert job_kind({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}) == "kubernetes"
    assert job_kind({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "a,b"}) == "tpu"
    assert job_kind(slurm(0, 1) | explicit(0, 1)) == "explicit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID must be set as well"),
        ({"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID must be a whole number below"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_PROCESS_ID must be a whole number below"),
        ({"JAX_COORDINATOR": "localhost"}, "JAX_COORDINATOR must be host:port"),
    ],
)
def test_bad_variables_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        job_kind(explicit(0, 1234) | change)
