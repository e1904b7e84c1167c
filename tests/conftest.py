"""Eight simulated devices and strict numerics for every test."""

import gc
import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling is most of the work; 0 compiles as users do
# Two workers share the cores: threads inside of each only disturb the other.
os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=false {os.environ.get('XLA_FLAGS', '')}"
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and version("jaxlib").startswith("0.10."):
    # the older code generator compiles in 2/3 of the time, one thread in 9/10; later releases do not know the flags
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{quick} {os.environ['XLA_FLAGS']}"

import jax
import jaxtyping
import pytest
from jax.sharding import AxisType

gc.set_threshold(100_000, 50, 50)  # tracing makes many objects that live: collecting as often as usual takes 6 %

if os.environ["JAX_PLATFORMS"] == "cpu":
    jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_explicit_x64_dtypes", "error")


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    """Frees, after each file, the programs that it compiled: a worker would hold several GiB of them at the end."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Runs the test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Switches off the run-time check of annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _own_errors(request):
    """Tests named `test_bad_...` meet the library's own errors and not those of the run-time check."""
    if request.node.name.startswith("test_bad_"):
        request.getfixturevalue("unchecked")


def _mesh(shape, names):
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))


@pytest.fixture(scope="session")
def mesh8():
    """Eight devices along `data`."""
    return _mesh((8,), ("data",))


@pytest.fixture(scope="session")
def mesh2x4():
    """Two devices along `data`, four along `model`."""
    return _mesh((2, 4), ("data", "model"))
