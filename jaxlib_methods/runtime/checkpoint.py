"""Checkpoints that are whole or not used: asynchronous saves, a content digest per array, newest valid step first.

The store is Orbax's; it restores a file with a flipped byte without complaint and casts dtypes silently, so each step
also holds a record of the path, shape, dtype and digest of every array, and what is read back must agree with it.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import zlib
from contextlib import AbstractContextManager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array, PyTree, Shaped, UInt32

__all__ = ["CheckpointError", "Checkpointer", "fingerprint"]

MOST_METADATA_BYTES = 2**18

log = logging.getLogger(__name__)


class CheckpointError(Exception):
    """A checkpoint could not be written, or none fits; the message says why and which steps are complete."""


class Checkpointer(AbstractContextManager):
    """Saves and restores pytrees of arrays by step number; a context manager.

    A step becomes visible only when it is whole: a process killed while saving leaves the earlier steps as they were.
    One process writes to a folder at a time; in a job of several processes all of them make the same calls.

    Args:
      directory: folder of this run's checkpoints, made if missing; shared by all processes of a job.
      keep: how many of the newest steps stay on disk, at least 1; two or more leave something to fall back to.

    Raises:
      CheckpointError: if the folder cannot be made or read.

    >>> import tempfile
    >>> state = {"w": jnp.arange(3.0)}
    >>> with tempfile.TemporaryDirectory() as folder, Checkpointer(folder) as checkpointer:
    ...     checkpointer.save(10, state)
    ...     step, restored = checkpointer.restore(state)
    >>> step, restored["w"].tolist()
    (10, [0.0, 1.0, 2.0])
    """

    def __init__(self, directory: Path | str, *, keep: int = 3):
        """Opens the folder."""
        import orbax.checkpoint as ocp

        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self._ocp = ocp
        self._directory = Path(directory).absolute()
        self._saving: int | None = None
        self._damaged: list[int] = []
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except OSError as error:
            raise CheckpointError(f"cannot use the checkpoint folder {self._directory}: {error}") from error

    def save(self, step: int, state: PyTree) -> None:
        """Copies the state off the devices and writes it in the background.

        The state may be donated or changed as soon as this returns. Steps only grow: damaged steps that `restore` had
        to pass over are deleted first, a step that is already there is an error. Waits for the previous save.

        Args:
          step: number of the step, at least 0, above every step on disk.
          state: pytree of jax or numpy arrays of any shape and dtype, typed keys included.

        Raises:
          ValueError: if the step is not above the newest one.
          TypeError: naming a leaf that is not an array.
          CheckpointError: if this save cannot start or the previous one failed; nothing earlier is lost.
        """
        leaves = _named_leaves(state)
        for path, leaf in leaves.items():
            if not isinstance(leaf, jax.Array | np.ndarray):
                raise TypeError(f"state{path} must be an array, got {type(leaf).__name__}: {leaf!r}")
        self.wait()
        newest = max(set(self._manager.all_steps()) - set(self._damaged), default=-1)
        if not step > newest:
            raise ValueError(f"step must be above the newest step {newest} in {self._directory}, got {step}")
        self._saving = step
        try:
            self._require_space(leaves)
            while self._damaged:
                self._manager.delete(self._damaged.pop())
            args = self._ocp.args
            with jax.enable_x64(True):
                record = _seal({"step": step, "leaves": _describe(leaves)})
                stored = {path: leaf for path, leaf in leaves.items() if leaf.size}
                items = {"record": args.JsonSave(record)} | ({"state": args.StandardSave(stored)} if stored else {})
                self._manager.save(step, args=args.Composite(**items))
        except Exception as error:
            raise self._failure(error) from error

    def wait(self) -> None:
        """Returns when the last save is on disk.

        Raises:
          CheckpointError: if it failed, naming the folder, the cause and the newest complete step.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failure(error) from error
        self._saving = None

    def restore(self, target: PyTree) -> tuple[int, PyTree] | None:
        """Reads the newest valid step onto the target's shardings.

        Args:
          target: pytree of arrays or `jax.ShapeDtypeStruct`s with the structure, shapes and dtypes of the saved state.
            Each leaf lands on its `sharding`, which may be of another mesh than the saved one; leaves without one
            land on the first device.

        Returns:
          The step and its state, or None if the folder holds no checkpoint at all.

        Raises:
          CheckpointError: if a valid step does not fit the target, or if there are steps and none is valid.
        """
        self.wait()
        self._manager.reload()
        self._damaged, reasons = [], []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return step, self._restore_step(step, target)
            except CheckpointError:
                raise
            except Exception as error:  # damage surfaces as ValueError, KeyError, OSError, bare Exception ...
                reasons.append(f"step {step}: {_cause(error)}")
                log.warning("damaged checkpoint in %s passed over: %s", self._directory, reasons[-1])
                self._damaged.append(step)
        if reasons:
            raise CheckpointError(f"no valid checkpoint in {self._directory}; " + "; ".join(reasons))
        return None

    def close(self) -> None:
        """Waits for the last save and stops the background threads; more than once does nothing.

        Raises:
          CheckpointError: as `wait`.
        """
        try:
            self.wait()
        finally:
            self._manager.close()

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()

    def _restore_step(self, step, target):
        with _in_all_processes():
            record = self._read_record(step)
        wanted, treedef = _named_leaves(target), jax.tree.structure(target)
        misfit = _misfit(record["leaves"], wanted)
        if misfit:
            raise CheckpointError(f"step {step} in {self._directory} does not fit the target: {misfit}")
        with jax.enable_x64(True):
            with _in_all_processes():
                state = self._read_state(step, wanted)
            for path, entry in _describe(state).items():
                if entry != record["leaves"][path]:
                    raise ValueError(f"the content of {path} does not match its digest")
        return jax.tree.unflatten(treedef, [state[path] for path in wanted])

    def _read_record(self, step):
        ocp = self._ocp
        handler = ocp.JsonCheckpointHandler(multiprocessing_options=self._alone())
        record = _unseal(self._read(step, "record", handler, ocp.args.JsonRestore()))
        if record["step"] != step:
            raise ValueError(f"the folder holds step {record['step']}")
        return record

    def _read_state(self, step, wanted):
        ocp = self._ocp
        places = {path: _abstract(leaf) for path, leaf in wanted.items()}
        empty = {path: place for path, place in places.items() if not place.size}
        stored = {path: place for path, place in places.items() if place.size}
        state = {path: jnp.zeros(p.shape, p.dtype, device=p.sharding) for path, p in empty.items()}
        if stored:
            handler = ocp.StandardCheckpointHandler(multiprocessing_options=self._alone())
            state |= self._read(step, "state", handler, ocp.args.StandardRestore(stored))
        return state

    def _alone(self):
        """What makes Orbax read without waiting for other processes, so that any of them may fail."""
        index = jax.process_index()
        return self._ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})

    def _read(self, step, item, handler, args):
        with self._ocp.Checkpointer(handler, multiprocessing_options=self._alone()) as reader:
            return reader.restore(self._directory / str(step) / item, args=args)

    def _require_space(self, leaves):
        """A disk that is full is told before the write starts; a write that fails half-way is told by many threads."""
        needed = MOST_METADATA_BYTES + sum(leaf.size * leaf.dtype.itemsize for leaf in leaves.values())
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {free} bytes are free, {needed} may be needed")

    def _failure(self, error):
        step, self._saving = self._saving, None
        self._manager.reload()
        complete = max(self._manager.all_steps(), default=None)
        kept = "no complete step there" if complete is None else f"newest complete step there: {complete}"
        return CheckpointError(f"saving step {step} in {self._directory} failed: {_cause(error)}; {kept}")


def fingerprint(x: Shaped[Array, "..."]) -> UInt32[Array, ""]:
    """Hashes the bits of an array with their positions to 32 bits; the same for every sharding, without a gather.

        h(x) = sum_i m(m(i) + bits_i)  mod 2^32

    with i the row-major position of a 32-bit word and m a bijective mixing of words. Any change of one word changes the
    sum; other changes pass with probability 2^-32. Runs under jit. 64-bit arrays need `jax.enable_x64`.

    >>> fingerprint(jnp.array([1.0, 2.0])) == fingerprint(jnp.array([2.0, 1.0]))
    Array(False, dtype=bool)
    """
    words = _words(x)
    position = jnp.zeros(words.shape, jnp.uint32)
    for axis, size in enumerate(words.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        position = position * jnp.uint32(size % 2**32) + along
    return jnp.sum(_mix(_mix(position) + words), dtype=jnp.uint32)


_fingerprint = jax.jit(fingerprint)


def _words(x):
    """The bits of any dtype as uint32, with a trailing axis where an entry takes more than one word."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        x = jnp.stack([x.real, x.imag], axis=-1)
    if x.dtype.itemsize < 4 and not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(jnp.uint32)
    word = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(x, word).astype(jnp.uint32)


def _mix(word):
    """A bijection of 32-bit words in which every input bit reaches every output bit: odd products, folded halves."""
    for factor in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D):
        word = (word ^ (word >> 15)) * jnp.uint32(factor)
    return word ^ (word >> 16)


@contextlib.contextmanager
def _in_all_processes():
    """Raises in every process of a job if the block raised in one of them."""
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    if jax.process_count() > 1:
        failed = multihost_utils.process_allgather(np.array(failure is not None))
        if failure is None and failed.any():
            failure = OSError(f"process {failed.argmax()} could not read its part")
    if failure is not None:
        raise failure


def _named_leaves(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _describe(leaves):
    return {
        path: {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "digest": int(_fingerprint(leaf))}
        for path, leaf in leaves.items()
    }


def _misfit(saved, wanted):
    """Says how the saved arrays differ from the wanted ones in name, shape or dtype; empty if they do not."""
    if missing := [path for path in wanted if path not in saved]:
        return f"it lacks {', '.join(missing[:3])}" + " ..." * (len(missing) > 3)
    if extra := [path for path in saved if path not in wanted]:
        return f"the target lacks {', '.join(extra[:3])}" + " ..." * (len(extra) > 3)
    for path, leaf in wanted.items():
        found, needed = (str(saved[path]["dtype"]), tuple(saved[path]["shape"])), (str(leaf.dtype), tuple(leaf.shape))
        if found != needed:
            return f"{path} is {found[0]}{list(found[1])} there and {needed[0]}{list(needed[1])} in the target"
    return ""


def _abstract(leaf):
    sharding = getattr(leaf, "sharding", None) or SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _seal(record):
    text = json.dumps(record)
    return {"text": text, "crc32": zlib.crc32(text.encode())}


def _unseal(sealed):
    if zlib.crc32(sealed["text"].encode()) != sealed["crc32"]:
        raise ValueError("its record is corrupt")
    return json.loads(sealed["text"])


def _cause(error):
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text if len(text) <= 240 else f'{text[:120]} ... {text[-120:]}'}"
