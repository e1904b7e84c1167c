"""Peak memory of one call, measured from outside it: by the kernel, in a process that does nothing else.

A child process makes the inputs, calls the function once, so that libraries are loaded and programs compiled, drops
the result, resets the kernel's record of its peak resident memory, and calls again. What is reported is the new peak
over what was resident before the second call: working memory and result, whoever allocated them; not the inputs, the
program, or scratch that a library keeps from one call to the next. The child gives freed memory back at once
(`MALLOC_*`), so that nothing is served unseen from memory freed earlier. A function with an attribute `pid` works in
that process, and is measured there. `compiled.memory_analysis()`, which only JAX has, agrees: the tests compare. Linux
only, and for the CPU only; elsewhere there is no number rather than a doubtful one.
"""

import ctypes
import gc
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import jax

from experiments.harness.bench_case import cases_in, load_benchmarks

__all__ = ["peak_bytes"]

RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MKL_DISABLE_FAST_MM": "1"}
RESET = "/proc/{}/clear_refs"


def peak_bytes(path: Path, case: int, size: int, side: int) -> int | None:
    """Bytes that one side (0 ours, 1 the peer) of a case in a file needs at one of its sizes, beyond its inputs.

    None where it cannot be told: not on Linux, not on a CPU, or the child did not survive.
    """
    if not Path(RESET.format("self")).exists() or jax.default_backend() != "cpu":
        return None
    command = [sys.executable, "-m", __spec__.name, str(path.resolve()), str(case), str(size), str(side)]
    here = Path(__file__).parents[2]
    child = subprocess.run(command, cwd=here, env=os.environ | RETURN_FREED_MEMORY, capture_output=True, text=True)
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        print(f"peak memory was not measured: {reason}", file=sys.stderr)
        return None
    return int(child.stdout.split()[-1])


def _main(path: str, case: str, size: str, side: str) -> None:
    chosen = next(islice(cases_in(load_benchmarks(Path(path))), int(case), None))
    function = chosen.build(**chosen.all_sizes[int(size)])[int(side)]
    assert function is not None
    jax.block_until_ready(function())
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    process = getattr(function, "pid", os.getpid())
    Path(RESET.format(process)).write_text("5")
    before = _resident(process, "VmRSS")
    jax.block_until_ready(function())
    print(max(_resident(process, "VmHWM") - before, 0))


def _resident(process: int, entry: str) -> int:
    (kibibytes,) = re.findall(rf"{entry}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return 1024 * int(kibibytes)


if __name__ == "__main__":
    _main(*sys.argv[1:])
