"""What comes back is what was saved, bit for bit, or an error: every kind of leaf, mesh, damage and failing disk."""

import gc
import os
import shutil
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.runtime import Checkpointer, CheckpointError
from jaxlib_methods.runtime.checkpoint import fingerprint


def assert_same(a, b):
    def same(a, b):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert a.shape == b.shape

    jax.tree.map(same, a, b)


def leaves_of_every_kind():
    with jax.enable_x64(True):
        wide = {
            "float64": jnp.linspace(0, 1, 5, dtype=jnp.float64),
            "complex128": jnp.full(2, 1 + 1e-13j),
            "int64": jnp.int64(2**40 + 1),
        }
    names = ["bfloat16", "float16", "float8_e4m3fn", "complex64", "int32", "int8", "uint16", "uint8", "bool", "int4"]
    narrow = {name: jnp.arange(6).reshape(2, 3).astype(name) for name in names}
    return (
        wide
        | narrow
        | {
            "float32": jnp.array([0.0, -0.0, jnp.nan, jnp.inf, 1e-40]),
            "scalar": jnp.float32(3),
            "empty": jnp.zeros((0, 3)),
            "key": jax.random.key(1),
            "keys": (jax.random.split(jax.random.key(2), 3), jax.random.key(3, impl="rbg")),
            "numpy": np.arange(3, dtype=np.int32),
            "odd name/with.dots and 'quotes'": [jnp.ones(1), None, ()],
        }
    )


def test_leaves_of_every_kind_come_back_bit_for_bit(tmp_path):
    state = leaves_of_every_kind()
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, state)
        step, restored = checkpointer.restore(state)
    assert step == 0
    assert_same(restored, state)


@pytest.mark.parametrize("state", [{}, jnp.zeros((0, 2)), jnp.float32(1)])
def test_states_without_content_and_bare_arrays_come_back(tmp_path, state):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        _, restored = checkpointer.restore(state)
    assert_same(restored, state)


def test_the_newest_step_comes_back_and_the_oldest_are_dropped(tmp_path):
    with Checkpointer(tmp_path / "made" / "on demand", keep=2) as checkpointer:
        assert checkpointer.restore(jnp.ones(2)) is None
        for step in (3, 5, 100):
            checkpointer.save(step, jnp.full(2, 1.0 * step))
        step, state = checkpointer.restore(jax.ShapeDtypeStruct((2,), jnp.float32))
    assert (step, state.tolist()) == (100, [100.0, 100.0])
    assert {path.name for path in (tmp_path / "made" / "on demand").iterdir()} == {"5", "100"}


def test_a_saved_state_may_be_donated_at_once(tmp_path, mesh8):
    split = jax.device_put(jnp.arange(2.0**16), NamedSharding(mesh8, P("data")))
    advance = jax.jit(lambda x: x + 1, donate_argnums=0)
    with Checkpointer(tmp_path) as checkpointer:
        for state in (jnp.arange(2.0**16), split):
            step = 1 if state is not split else 2
            checkpointer.save(step, state)
            for _ in range(20):
                state = advance(state)
            _, restored = checkpointer.restore(state)
            np.testing.assert_array_equal(restored, np.arange(2.0**16))


def test_a_numpy_state_may_be_changed_at_once(tmp_path):
    state = np.arange(2.0**16, dtype=np.float32)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        state += 1
        np.testing.assert_array_equal(checkpointer.restore(state)[1], np.arange(2.0**16))


@pytest.mark.parametrize("shape", ["data=2,model=4", "data=8", "data=2", None])
def test_a_state_moves_to_another_mesh(tmp_path, shape):
    from jaxlib_methods.runtime import make_mesh

    saved_on = NamedSharding(make_mesh("data=4,model=2"), P("data", "model"))
    state = {"w": jax.device_put(jax.random.normal(jax.random.key(0), (16, 8)), saved_on), "key": jax.random.key(1)}
    sharding = NamedSharding(make_mesh(shape), P(None, "data")) if shape else None
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    target["w"] = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=sharding)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        _, restored = checkpointer.restore(target)
    assert_same(restored, state)
    assert restored["w"].sharding == sharding or restored["w"].sharding.device_set == {jax.devices()[0]}


def flip(path, where=0.5):
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 0x5A
    path.write_bytes(bytes(data))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def swap_with_the_step_before(folder):
    before = folder.with_name("2")
    before.rename(folder.with_name("x"))
    folder.rename(before)
    folder.with_name("x").rename(folder)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


FILES = ["state/manifest.ocdbt", "state/ocdbt.process_0/manifest.ocdbt", "state/_METADATA", "record/metadata"]
DAMAGES = {
    f"{action.__name__} {name}": (lambda folder, action=action, name=name: action(folder / name))
    for name in FILES
    for action in (flip, truncate, os.remove)
} | {
    "flip a byte of the data": lambda folder: flip(largest(folder)),
    "flip the first byte of the data": lambda folder: flip(largest(folder), 0.0),
    "truncate the data": lambda folder: truncate(largest(folder)),
    "delete the data": lambda folder: largest(folder).unlink(),
    "delete all data": lambda folder: [shutil.rmtree(path) for path in sorted(folder.rglob("d"), reverse=True)],
    "flip every index node": lambda folder: [flip(path) for path in (folder / "state" / "d").iterdir()],
    "delete the record": lambda folder: shutil.rmtree(folder / "record"),
    "delete the state": lambda folder: shutil.rmtree(folder / "state"),
    "empty the step": empty,
    "replace the step by a step with other content": swap_with_the_step_before,
}
UNREAD = "state/ocdbt.process_0/manifest.ocdbt", "state/_METADATA"
UNUSUAL = {"replace the step by a step with other content": 1} | {
    damage: 3 for damage in DAMAGES if damage.endswith(UNREAD[0]) or damage == f"remove {UNREAD[1]}"
}


def sample(step):
    return {"w": jax.random.normal(jax.random.key(step), (128, 128)), "step": jnp.int32(step)}


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with Checkpointer(folder) as checkpointer:
        for step in (1, 2, 3):
            checkpointer.save(step, sample(step))
    return folder


@pytest.fixture
def collected():
    yield
    gc.collect()


def reads_damage(test):
    """Marks a test in which Orbax drops reads half way: they complain when they are collected, here and unheard."""
    unheard = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return unheard(pytest.mark.usefixtures("collected")(test))


@reads_damage
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_step_is_passed_over_or_still_right(three_steps, tmp_path, damage):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    DAMAGES[damage](folder / "3")
    with Checkpointer(folder) as checkpointer:
        step, state = checkpointer.restore(sample(0))
        assert step == UNUSUAL.get(damage, 2)
        assert_same(state, sample(step))
        checkpointer.save(step + 1, sample(7))
        assert_same(checkpointer.restore(sample(0))[1], sample(7))


@reads_damage
def test_every_flipped_byte_of_a_small_step_is_harmless_or_noticed(tmp_path):
    """A byte at random places of every file: what comes back is never wrong."""
    with Checkpointer(tmp_path / "whole") as checkpointer:
        checkpointer.save(1, sample(1))
        checkpointer.save(2, sample(2))
    rng = np.random.default_rng(0)
    for number, name in enumerate(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole" / "2").rglob("*")):
        if not (tmp_path / "whole" / name).is_file() or not (tmp_path / "whole" / name).stat().st_size:
            continue
        folder = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        flip(folder / name, rng.random())
        with Checkpointer(folder) as checkpointer:
            step, state = checkpointer.restore(sample(0))
        assert_same(state, sample(step))


@reads_damage
def test_no_valid_step_is_an_error_that_names_each(three_steps, tmp_path):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    flip(largest(folder / "3"))
    empty(folder / "2")
    (folder / "1" / "state" / "manifest.ocdbt").unlink()
    with (
        Checkpointer(folder) as checkpointer,
        pytest.raises(CheckpointError, match=r"no valid checkpoint in .*run; step 3: .*; step 2: .*; step 1: "),
    ):
        checkpointer.restore(sample(0))


def test_an_unfinished_save_is_not_a_step(three_steps, tmp_path):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    shutil.copytree(folder / "3", folder / "4.orbax-checkpoint-tmp")
    with Checkpointer(folder) as checkpointer:
        assert checkpointer.restore(sample(0))[0] == 3
        assert not list(folder.glob("*tmp"))
        checkpointer.save(4, sample(4))
        assert checkpointer.restore(sample(0))[0] == 4


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"w": jnp.ones((128, 127)), "step": jnp.int32(0)},
            r"\['w'\] is float32\[128, 128\] there and float32\[128, 127\]",
        ),
        ({"w": jnp.ones((128, 128), jnp.bfloat16), "step": jnp.int32(0)}, r"float32\[128, 128\] there and bfloat16"),
        ({"w": jnp.ones((128, 128)), "step": jnp.float32(0)}, r"\['step'\] is int32\[\] there and float32\[\]"),
        ({"w": jnp.ones((128, 128))}, r"the target lacks \['step'\]"),
        ({"w": jnp.ones((128, 128)), "step": jnp.int32(0), "b": jnp.ones(1)}, r"it lacks \['b'\]"),
        ([jnp.ones((128, 128)), jnp.int32(0)], r"it lacks \[0\], \[1\]"),
    ],
)
def test_a_target_that_does_not_fit_is_an_error_not_a_cast(three_steps, target, message):
    with (
        Checkpointer(three_steps) as checkpointer,
        pytest.raises(CheckpointError, match=f"step 3 .*does not fit.*{message}"),
    ):
        checkpointer.restore(target)


def test_steps_only_grow_and_leaves_are_arrays(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(5, sample(5))
        for step in (5, 4, -1):
            with pytest.raises(ValueError, match=f"step must be above the newest step 5 .*got {step}"):
                checkpointer.save(step, sample(0))
        with pytest.raises(TypeError, match=r"state\['name'\] must be an array, got str: 'x'"):
            checkpointer.save(6, {"name": "x"})
        assert_same(checkpointer.restore(sample(0))[1], sample(5))


def test_bad_folders_and_counts_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=f"cannot use the checkpoint folder {folder}"):
            Checkpointer(folder)
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpointer(tmp_path, keep=0)


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    """A limit on file sizes stands for the disk: the write of the large state truly fails."""
    script = """
        import resource, signal, sys
        import jax, jax.numpy as jnp
        from jaxlib_methods.runtime import Checkpointer, CheckpointError

        state = lambda step: jax.random.normal(jax.random.key(step), (2**18,))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Checkpointer(sys.argv[1], keep=1) as checkpointer:
            checkpointer.save(1, state(1))
            checkpointer.wait()
            for _ in range(2):
                resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
                try:
                    checkpointer.save(2, state(2))
                    checkpointer.wait()
                    raise SystemExit("the write should have failed")
                except CheckpointError as error:
                    print(error)
                step, restored = checkpointer.restore(state(0))
                assert step == 1 and (restored == state(1)).all()
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            checkpointer.save(2, state(2))
            step, restored = checkpointer.restore(state(0))
            assert step == 2 and (restored == state(2)).all()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"saving step 2 in {tmp_path} failed: ")
        assert "File too large" in line
        assert line.endswith("; newest complete step there: 1")


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, sample(1))
        checkpointer.wait()
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**16))
        with pytest.raises(
            CheckpointError, match=r"step 2 .* No space left on device: 65536 bytes are free.* step there: 1"
        ):
            checkpointer.save(2, sample(2))
        assert not list(tmp_path.glob("2*"))
        monkeypatch.undo()
        checkpointer.save(2, sample(2))
        assert checkpointer.restore(sample(0))[0] == 2


@settings(deadline=None, max_examples=50)
@given(
    dtype=st.sampled_from(["float32", "bfloat16", "int8", "bool", "float16", "uint32", "complex64"]),
    size=st.sampled_from([1, 7, 40]),
    where=st.integers(0, 10**6),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_changes_the_fingerprint(dtype, size, where, bit):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    raw = np.random.default_rng(size).integers(0, 2 if dtype == "bool" else 256, size * kind.itemsize, dtype=np.uint8)
    changed = raw.copy()
    changed[where % raw.size] ^= 1 if dtype == "bool" else 1 << bit
    digest = jax.jit(fingerprint)
    assert digest(raw.view(kind)) != digest(changed.view(kind))


def test_the_fingerprint_depends_on_position_and_shifts():
    x = jnp.zeros(1000).at[3].set(1.0)
    values = jax.vmap(lambda shift: fingerprint(jnp.roll(x, shift)))(jnp.arange(1000))
    assert len(set(values.tolist())) == 1000
    assert fingerprint(jnp.arange(6).reshape(2, 3)) == fingerprint(jnp.arange(6))


def test_the_fingerprint_of_constants_is_spread_evenly():
    """Over 4000 arrays each of the 32 bits is set half of the time, within five standard errors."""
    values = np.asarray(jax.vmap(fingerprint)(jnp.arange(4000).reshape(4000, 1) * jnp.ones((1, 8), jnp.int32)))
    share = ((values[:, None] >> np.arange(32, dtype=np.uint32)) & 1).mean(axis=0)
    assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(4000)
    assert len(set(values.tolist())) == 4000


def test_the_fingerprint_is_the_same_for_every_sharding_and_gathers_nothing(mesh8, mesh2x4):
    x = jax.random.normal(jax.random.key(0), (16, 24))
    truth = fingerprint(x)
    for mesh, spec in ((mesh8, P("data")), (mesh8, P(None, "data")), (mesh2x4, P("model", "data")), (mesh2x4, P())):
        split = jax.device_put(x, NamedSharding(mesh, spec))
        assert jax.jit(fingerprint)(split) == truth
        text = jax.jit(fingerprint).lower(split).compile().as_text()
        assert "all-gather" not in text
        assert "all-to-all" not in text
