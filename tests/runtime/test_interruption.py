"""A run that is killed or asked to stop, and then started again, ends as if nothing had happened: bits and log.

The same in a job of two processes, where one is asked and both stop.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

SCRIPT = """
    import sys, time
    from pathlib import Path
    import jax, jax.numpy as jnp, numpy as np, optax
    from jaxlib_methods.runtime import Checkpointer, Interrupted, MetricsWriter, catch_sigterm, make_mesh
    from jaxlib_methods.runtime.train import train

    folder = Path(sys.argv[1])

    def loss(params, batch, key):
        x = batch + 0.1 * jax.random.normal(key, batch.shape)
        return jnp.mean((jnp.tanh(x @ params["in"]) @ params["out"] - x) ** 2)

    def batch(step):
        time.sleep(0.05)
        return np.random.default_rng(step).normal(size=(16, 8)).astype(np.float32)

    params = {name: 0.1 * jax.random.normal(jax.random.key(n), (8, 8)) for n, name in enumerate(("in", "out"))}
    evaluate = lambda state: {"norm": optax.tree.norm(state.params)}
    metrics = []
    start = lambda step: metrics.append(MetricsWriter(folder / "metrics.jsonl", resume_at=step))
    with Checkpointer(folder / "checkpoints") as checkpointer, catch_sigterm() as interrupted:
        try:
            state = train(
                loss, params, batch, optax.adam(optax.cosine_decay_schedule(1e-2, 20)), key=jax.random.key(0), steps=20,
                accumulate=2, ema_decay=0.9, mesh=make_mesh("data=2"), evaluate=evaluate, evaluate_at=(0, 10, 15, 20),
                log=lambda step, **values: metrics[0].write(step, **values), log_every=1, checkpointer=checkpointer,
                checkpoint_every=5, on_start=start, interrupted=interrupted,
            )
        except Interrupted as error:
            sys.exit(f"stopped after {error.step}")
        finally:
            metrics[0].close()
    leaves = jax.tree.leaves(state)
    (folder / "final").write_bytes(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
"""


def start(folder):
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), folder]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def signal_at(folder, step, number):
    """Starts the run, sends it the signal once it has logged the step, and returns its exit status and last words."""
    with start(folder) as process:
        path = folder / "metrics.jsonl"
        before = path.read_bytes() if path.exists() else b""
        while process.poll() is None:
            now = path.read_bytes() if path.exists() else b""
            if now != before and f'"step": {step},' in now.decode():
                process.send_signal(number)
                break
            time.sleep(0.005)
        _, words = process.communicate(timeout=600)
        return process.returncode, words


def finish(folder):
    with start(folder) as process:
        _, words = process.communicate(timeout=600)
    assert process.returncode == 0, words
    return (folder / "final").read_bytes(), (folder / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("step", [3, 10, 17])
def test_a_killed_run_goes_on_to_the_same_bits_and_log(tmp_path, undisturbed, step):
    status, words = signal_at(tmp_path, step, signal.SIGKILL)
    assert status == -signal.SIGKILL, words
    assert not (tmp_path / "final").exists()
    assert finish(tmp_path) == undisturbed


def test_a_run_asked_to_stop_saves_first_and_goes_on_to_the_same_bits_and_log(tmp_path, undisturbed):
    status, words = signal_at(tmp_path, 7, signal.SIGTERM)
    assert status == 1, words
    stopped_after = int(re.search(r"stopped after (\d+)", words)[1])
    assert 7 <= stopped_after < 15
    assert (tmp_path / "checkpoints" / str(stopped_after)).is_dir()
    assert finish(tmp_path) == undisturbed


JOB = """
    import os, signal, sys, time
    import jax

    rank, folder, port, signalled = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "signalled"
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=rank)
    import jax.numpy as jnp, numpy as np, optax
    from jaxlib_methods.runtime import Checkpointer, Interrupted, catch_sigterm, make_mesh, pad_and_shard_rows, to_host
    from jaxlib_methods.runtime.train import train

    def batch(step):
        if signalled and step >= 5:
            time.sleep(0.1)
        if signalled and step == 5 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return np.random.default_rng(step).normal(size=(16, 4))

    mesh = make_mesh("data=4")
    assert to_host(pad_and_shard_rows(np.arange(6.0), mesh)[0]).tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    loss = lambda w, x, key: jnp.mean((x @ w - 1 + jax.random.normal(key, (16, 1))) ** 2)
    with Checkpointer(folder) as checkpointer, catch_sigterm() as interrupted:
        try:
            state = train(loss, jnp.ones((4, 1)), batch, optax.adam(1e-2), key=jax.random.key(0), steps=60, mesh=mesh,
                          ema_decay=0.5, checkpointer=checkpointer, interrupted=interrupted)
            print(int(state.step), to_host(state.params).ravel().tolist())
        except Interrupted as error:
            print("stopped after", error.step)
    jax.distributed.shutdown()
"""


def job(folder, mode):
    """Runs two processes of two devices each and returns the last line of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    command = lambda rank: [sys.executable, "-c", textwrap.dedent(JOB), rank, folder, port, mode]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with (
        subprocess.Popen(command("0"), env=environment, **pipes) as first,
        subprocess.Popen(command("1"), env=environment, **pipes) as second,
    ):
        outputs = [process.communicate(timeout=600) for process in (first, second)]
    assert first.returncode == second.returncode == 0, outputs
    return [words.splitlines()[-1] for words, _ in outputs]


def test_two_processes_stop_together_when_one_is_asked_and_go_on_to_the_same_bits(tmp_path):
    undisturbed = job(tmp_path / "undisturbed", "quiet")
    assert undisturbed[0] == undisturbed[1]
    stopped = job(tmp_path / "stopped", "signalled")
    assert stopped[0] == stopped[1]
    assert 5 <= int(re.fullmatch(r"stopped after (\d+)", stopped[0])[1]) < 60
    assert job(tmp_path / "stopped", "quiet") == undisturbed
