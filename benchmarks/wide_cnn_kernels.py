"""Kernels of infinitely wide networks and empirical NTKs beside neural-tangents.

    NEURAL_TANGENTS_PYTHON=... python -m experiments bench wide_cnn_kernels    # about 15 minutes on two cores
    NEURAL_TANGENTS_PYTHON=... python -m benchmarks.wide_cnn_kernels           # the values themselves, in float64

The peer does not import on current JAX. The variable names the interpreter of an environment of its own, with
neural-tangents 0.6.5, jax and jaxlib 0.4.26, scipy below 1.13 and numpy below 2, where it runs in a process that works
in turn with ours; without it our side is timed alone. Both sides are compiled. The peer takes its own default, and for
empirical NTKs its three methods, of which as released the third (structured derivatives) does not run there either: two
names that it misses in JAX are given back to it.
"""

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.bench_case import Case
from jaxlib_methods.infinite_width import (
    activation,
    conv,
    dense,
    empirical_ntk,
    flatten,
    global_avg_pool,
    network_gram,
    serial,
)

RELU = activation("relu")
WEIGHTS = {"weight_std": 2**0.5, "bias_std": 0.1}
METHODS = {"jacobian": 1, "products": 2, "structured": 3}


INTERPRETER = os.environ.get("NEURAL_TANGENTS_PYTHON")


class Process:
    """A call in a process of its own."""

    def __init__(self, *command: str):
        """Starts the process, which has made its inputs when this returns."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        weakref.finalize(self, _end, self.process)
        self.introduction = self._answer()

    @property
    def pid(self) -> int:
        """Where memory is measured."""
        return self.process.pid

    def __call__(self, path: str = "") -> str:
        """Works once; with a path the result is saved there."""
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the process has ended: {' '.join(self.process.args)}")
        return answer


def _end(process: subprocess.Popen) -> None:
    process.stdin.close()
    process.wait()


def peer_of(case: str, sizes: list, *options: str) -> Process | None:
    """The peer's side, where there is one."""
    script = str(Path(__file__).with_name("_neural_tangents.py"))
    return Process(INTERPRETER, script, case, json.dumps(sizes), *options) if INTERPRETER else None


def on_eight_devices(inputs: int):
    """An NTK matrix computed and its system solved, split over eight simulated devices."""
    return Process(sys.executable, "-m", "benchmarks._eight_devices", str(inputs)), None


def cases() -> Iterator[Case]:
    """Symmetric kernel matrices, and empirical NTKs of all outputs."""
    small = peer_of("dense", [2, 1])
    peer = small and small.introduction
    sizes = [{"inputs": n, "layers": 3} for n in (2000, 4096)]
    yield Case("NTK of a dense ReLU network, 784 inputs", dense_kernel, sizes, peer=peer)
    sizes = [{"images": 100, "pixels": 28, "channels": 1, "layers": 4}]
    yield Case("NTK of a convolutional network, flattened", flattened, sizes, peer=peer)
    sizes = [
        {"images": 10, "pixels": 14, "channels": 1, "layers": 3},
        {"images": 4, "pixels": 32, "channels": 3, "layers": 3},
    ]
    yield Case("NTK of a convolutional network, globally pooled", pooled, sizes, peer=peer)
    for method, number in METHODS.items():
        name = f"empirical NTK of a convolutional network, ours {method}"
        best = lambda method=method, number=number, **sizes: empirical_filters(method, number, **sizes)
        yield Case(name, best, {"images": 24, "pixels": 16, "width": 32}, peer=peer and f"{peer}, method {number}")
    for number in METHODS.values():
        name = "empirical NTK of a dense network 256-512-512-10, ours structured"
        best = lambda number=number, **sizes: empirical_dense("structured", number, **sizes)
        yield Case(name, best, {"inputs": 64}, peer=peer and f"{peer}, method {number}")
    large = {"inputs": 20_000}
    yield Case("NTK of a dense ReLU network, computed and solved on eight devices", on_eight_devices, large)


def inputs(*shape: int) -> np.ndarray:
    """The same numbers as on the peer's side."""
    return np.random.default_rng(0).standard_normal(shape).astype(jnp.zeros(()).dtype)


def body(width: int, layers: int) -> list:
    return [conv(width, (3, 3), padding="SAME", **WEIGHTS), RELU] * layers


def dense_kernel(inputs: int, layers: int, *options: str):
    """A kernel matrix of rows of 784 numbers."""
    network = serial(*[dense(1, **WEIGHTS), RELU] * layers, dense(1, **WEIGHTS))
    return of_network(network, (inputs, 784)), peer_of("dense", [inputs, layers], *options)


def flattened(images: int, pixels: int, channels: int, layers: int, *options: str):
    """A kernel matrix of images, equal positions alone."""
    network = serial(*body(1, layers), flatten(), dense(1, **WEIGHTS))
    sizes = [images, pixels, channels, layers]
    return of_network(network, (images, pixels, pixels, channels)), peer_of("flattened", sizes, *options)


def pooled(images: int, pixels: int, channels: int, layers: int, *options: str):
    """A kernel matrix of images, all pairs of positions."""
    network = serial(*body(1, layers), global_avg_pool(), dense(1, **WEIGHTS))
    sizes = [images, pixels, channels, layers]
    return of_network(network, (images, pixels, pixels, channels)), peer_of("pooled", sizes, *options)


def of_network(network, shape):
    x = jnp.asarray(inputs(*shape))
    compiled = jax.jit(lambda x: network_gram(network, x))
    return lambda: compiled(x)


def empirical_filters(method: str, number: int, images: int, pixels: int, width: int):
    """The empirical NTK of three convolutions and a dense layer of ten outputs."""
    network = serial(*body(width, 3), flatten(), dense(10, **WEIGHTS))
    peer = peer_of("empirical_filters", [images, pixels, width, number])
    return empirical(network, (images, pixels, pixels, 3), method), peer


def empirical_dense(method: str, number: int, inputs: int):
    """The empirical NTK of two hidden layers."""
    network = serial(*[dense(512, **WEIGHTS), RELU] * 2, dense(10, **WEIGHTS))
    return empirical(network, (inputs, 256), method), peer_of("empirical_dense", [inputs, number])


def empirical(network, shape, method):
    x = jnp.asarray(inputs(*shape))
    params = network.init(jax.random.key(0), shape[1:])[0]
    compiled = jax.jit(lambda x, p: empirical_ntk(network.apply, p, x, method=method, outputs="full"))
    return lambda: compiled(x, params)


def compare() -> None:
    """Prints the largest deviation of our kernels from the peer's, relative to the largest entry.

    On the diagonal the peer takes an angle from the rounding of its cosine, which loses half of the digits.
    """
    small = {
        "dense": (dense_kernel, (300, 3)),
        "flattened": (flattened, (20, 28, 1, 4)),
        "pooled": (pooled, (4, 14, 1, 3)),
    }
    with jax.enable_x64(True), tempfile.TemporaryDirectory() as folder:
        for name, (build, sizes) in small.items():
            ours, theirs = build(*sizes, "float64")
            path = str(Path(folder) / f"{name}.npy")
            theirs(path)
            truth = np.load(path)
            error = np.abs(np.asarray(ours()) - truth) / np.abs(truth).max()
            diagonal = np.eye(len(truth), dtype=bool)
            print(f"{name} {sizes}: {error[~diagonal].max():.1e}, diagonal {error[diagonal].max():.1e}")


if __name__ == "__main__":
    compare()
