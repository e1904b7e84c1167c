"""The contracts of every public function: documented, typed, transformable, dtype kept, compiled once, shardable."""

import importlib
import inspect
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from contract_cases import CASES
from jax.test_util import check_grads
from jaxtyping import jaxtyped

GROUPS = ("numerics", "nn", "diffusion")


def public_functions(group):
    module = importlib.import_module(f"jaxlib_methods.{group}")
    return {
        f"{group}.{name}": getattr(module, name) for name in module.__all__ if inspect.isfunction(getattr(module, name))
    }


FUNCTIONS = {name: function for group in GROUPS for name, function in public_functions(group).items()}
each = pytest.mark.parametrize("name", FUNCTIONS)


def cast(arrays, dtype):
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), arrays)


def bound(name):
    """The case's call with the function checked for the shapes and types of its annotations."""
    case = CASES[name]
    checked = jaxtyped(FUNCTIONS[name], typechecker=beartype)
    return case, lambda *arrays: case.call(checked, *arrays)


def assert_close(ours, truth, rtol=2e-4, atol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, truth)


def floats(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def test_every_public_function_has_a_case_and_every_case_a_function():
    assert set(CASES) == set(FUNCTIONS)


@each
def test_documentation_and_annotations_are_complete(name):
    function = FUNCTIONS[name]
    text, parameters = inspect.getdoc(function) or "", inspect.signature(function).parameters.values()
    assert text.splitlines()[0].rstrip().endswith((".", ":", "with")), "the first line is a sentence"
    assert ">>>" in text, "an example"
    unexplained = len(parameters) > 2 and not any(
        word in text for word in ("Args:", "Args ", "Args,", "args ", "arguments as")
    )
    assert not unexplained, "what the arguments are"
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters)
    raises = "ValueError" in inspect.getsource(function) or "require" in inspect.getsource(function)
    assert not raises or any(word in text for word in ("Raises:", "rrors", "efused")) or len(parameters) < 3


@each
def test_jit_equals_eager_on_numpy_arrays_keeps_the_dtype_and_traces_once(name):
    case, call = bound(name)
    arrays = cast(case.arrays, jnp.float32)
    eager = case.call(FUNCTIONS[name], *jax.tree.map(np.asarray, arrays))
    assert {leaf.dtype for leaf in floats(eager)} <= {jnp.dtype("float32")}
    assert not any(leaf.weak_type for leaf in floats(eager) if isinstance(leaf, jax.Array))
    traces = []

    def counted(*arrays):
        traces.append(name)
        return call(*arrays)

    jitted = jax.jit(counted)
    assert_close(jitted(*arrays), eager)
    jitted(*jax.tree.map(lambda a: a + 0, arrays))
    assert len(traces) == 1


@each
def test_double_precision_stays_double_and_agrees_with_single(name, x64):
    case, call = bound(name)
    double = jax.jit(call)(*cast(case.arrays, jnp.float64))
    assert {leaf.dtype for leaf in floats(double)} <= {jnp.dtype("float64")}
    if case.grad and not case.random:
        assert_close(jax.jit(call)(*cast(case.arrays, jnp.float32)), double, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].vmap])
def test_vmap_equals_the_loop(name):
    case, call = bound(name)
    arrays = cast(case.arrays, jnp.float32)
    stacked = jax.tree.map(lambda a: jnp.stack([a, a * 1.01]), arrays)
    jitted = jax.jit(call)
    loop = [jitted(*jax.tree.map(lambda a, i=i: a[i], stacked)) for i in range(2)]
    together = jax.jit(jax.vmap(lambda *a: call(*a)))(*stacked)
    assert_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].grad])
def test_derivatives_agree_with_finite_differences(name, x64):
    case, call = bound(name)
    scalar = jax.jit(lambda *arrays: sum(jnp.sum(jnp.sin(leaf)) for leaf in floats(call(*arrays))))
    check_grads(scalar, cast(case.arrays, jnp.float64), order=1, modes=("fwd", "rev"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].rows])
def test_sharded_rows_give_the_same_result(name, mesh8):
    case, call = bound(name)
    arrays = cast(case.arrays, jnp.float32)
    rows = jax.NamedSharding(mesh8, jax.P("data"))
    placed = [jax.device_put(a, rows) if i in case.rows else a for i, a in enumerate(arrays)]
    assert_close(jax.jit(call)(*placed), call(*arrays))


def test_importing_the_library_brings_in_no_heavy_package():
    code = (
        "import sys, jaxlib_methods; from jaxlib_methods import numerics, nn, diffusion, runtime; print(*sys.modules)"
    )
    modules = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not modules & {"flax", "orbax", "sklearn", "matplotlib", "tqdm", "pooch", "PIL", "experiments"}
