"""Every public name keeps the library's promises; a function without a line in `contract_cases` fails here."""

import functools
import importlib
import inspect
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import CASES, HOST
from jax.sharding import NamedSharding, PartitionSpec as P

import jaxlib_methods

MODULES = {group: importlib.import_module(f"jaxlib_methods.{group}") for group in jaxlib_methods.__all__}
PUBLIC = {f"{group}.{name}": getattr(module, name) for group, module in MODULES.items() for name in module.__all__}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}

each_function = pytest.mark.parametrize("name", FUNCTIONS)
each_case = pytest.mark.parametrize("name", CASES)


def test_every_public_function_is_declared_and_every_declaration_is_public():
    assert not HOST & set(CASES)
    assert HOST | set(CASES) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS | CLASSES)
def test_the_first_line_is_a_sentence(name):
    summary, *rest = inspect.getdoc(PUBLIC[name]).split("\n")
    assert summary.endswith((".", ":"))
    assert not rest or rest[0] == ""


@each_function
def test_a_doctest_shows_the_use(name):
    assert ">>> " in inspect.getdoc(FUNCTIONS[name])


@each_function
def test_more_than_two_arguments_are_explained(name):
    doc, parameters = inspect.getdoc(FUNCTIONS[name]), inspect.signature(FUNCTIONS[name]).parameters
    if len(parameters) > 2 and not refers(name, "arg"):
        explained = re.search(r"^Args:\n((?:  .*\n|\n)+)", doc, re.MULTILINE).group(1)
        entries = re.findall(r"^  (\S[\w*, ]*):", explained, re.MULTILINE)
        assert {word.strip(" *") for entry in entries for word in entry.split(",")} == set(parameters)


@each_function
def test_errors_are_listed(name):
    function = inspect.unwrap(FUNCTIONS[name])
    body = inspect.getsource(function).replace(function.__doc__, "")
    if re.search(r"\b(raise|require\w*|_check\w*)\b", body):
        assert "Raises:" in function.__doc__ or refers(name, "error")


@each_function
def test_every_argument_and_the_result_are_annotated(name):
    signature = inspect.signature(FUNCTIONS[name])
    annotations = [parameter.annotation for parameter in signature.parameters.values()]
    assert inspect.Signature.empty not in [*annotations, signature.return_annotation]


@each_case
def test_compiled_equals_eager_on_numpy_arrays_and_is_traced_once(name, x64, unchecked):
    arguments = CASES[name].arguments
    run, traces = compiled(name)
    traces.clear()
    assert_close(run(*arguments), CASES[name].call(*arguments))
    run(*another(arguments))
    assert len(traces) == 1


@each_case
def test_vmap_equals_the_loop(name, x64):
    both = CASES[name].arguments, another(CASES[name].arguments)
    stack = lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    mapped = jax.jit(jax.vmap(CASES[name].call))(*stack(*both))
    assert_close(mapped, stack(*(compiled(name)[0](*arguments) for arguments in both)))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.grad])
def test_the_gradient_agrees_with_differences(name, x64):
    leaves, structure = jax.tree.flatten(CASES[name].arguments)
    moving = [i for i, leaf in enumerate(leaves) if floating(leaf)]

    def scalar(call, values):
        now = dict(zip(moving, values, strict=True))
        result = call(*structure.unflatten([now.get(i, leaf) for i, leaf in enumerate(leaves)]))
        return sum(jnp.vdot(wave(leaf.shape), leaf) for leaf in jax.tree.leaves(result) if floating(leaf))

    start = [jnp.asarray(leaves[i]) for i in moving]
    direction = [wave(leaf.shape) for leaf in start]
    gradient = jax.jit(jax.grad(functools.partial(scalar, CASES[name].call)))(start)
    slope = sum(jnp.vdot(g, v) for g, v in zip(gradient, direction, strict=True))
    h = 1e-5
    at = lambda step: scalar(compiled(name)[0], [x + step * v for x, v in zip(start, direction, strict=True)])
    assert all(jnp.isfinite(g).all() for g in gradient)
    np.testing.assert_allclose(slope, (at(h) - at(-h)) / (2 * h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.rows])
def test_rows_split_over_eight_devices_give_the_same(name, x64, mesh8):
    case = CASES[name]
    sharding = lambda i: NamedSharding(mesh8, P("data") if i in case.rows else P())
    split = [jax.device_put(argument, sharding(i)) for i, argument in enumerate(case.arguments)]
    assert_close(compiled(name)[0](*split), compiled(name)[0](*case.arguments))


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_kept(name, dtype, x64):
    arguments = cast(CASES[name].arguments, dtype)
    if any(map(floating, jax.tree.leaves(arguments))):
        results = jax.tree.leaves(jax.eval_shape(CASES[name].call, *arguments))
        assert {(leaf.dtype.name, leaf.weak_type) for leaf in results if floating(leaf)} <= {(dtype, False)}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.bfloat16])
def test_bfloat16_is_taken(name):
    lowered = jax.jit(CASES[name].call).lower(*cast(CASES[name].arguments, jnp.bfloat16))
    results = jax.tree.leaves(lowered.out_info)
    assert {leaf.dtype.name for leaf in results if floating(leaf)} == {CASES[name].bfloat16}


def test_importing_everything_loads_no_heavy_library():
    program = """
import sys, time
import jax, jax.numpy
start = time.perf_counter()
import jaxlib_methods
assert not any(name.startswith("jaxlib_methods.") for name in sys.modules)
for group in jaxlib_methods.__all__:
    module = getattr(jaxlib_methods, group)
    for name in module.__all__:
        getattr(module, name)
print(f"{time.perf_counter() - start:.2f} s beyond jax")
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, modules = child.stdout.splitlines()
    print(seconds)
    assert not {"flax", "orbax", "sklearn", "matplotlib", "tqdm", "pooch", "PIL"} & set(modules.split())


@functools.cache
def compiled(name):
    """The jitted call, and a list that grows by one entry a trace."""
    traces = []

    def counted(*arguments):
        traces.append(name)
        return CASES[name].call(*arguments)

    return jax.jit(counted), traces


def refers(name, subject):
    """Whether the docstring says `Args/errors ... as` a public function of the same group."""
    match = re.search(rf"\b{subject}\w*\b[^.:]* as (?:in )?`(\w+)`", inspect.getdoc(FUNCTIONS[name]), re.IGNORECASE)
    return match is not None and f"{name.split('.')[0]}.{match.group(1)}" in FUNCTIONS


def floating(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, tree)


def another(tree):
    """Other values of the same shapes; labels stay."""

    def change(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.fold_in(leaf, 1)
        return np.asarray(1.01 * leaf) if floating(leaf) else leaf

    return jax.tree.map(change, tree)


def wave(shape):
    return jnp.sin(1 + jnp.arange(np.prod(shape, dtype=int), dtype=float)).reshape(shape)


def assert_close(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for ours, truth in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-9, atol=1e-9)
