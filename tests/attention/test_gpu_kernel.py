"""The GPU kernel against the whole tensor of logits on a simulated GPU, and its lowering for a real one."""

import functools

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
import numpy as np
import pytest
from attention import brute_force
from attention.brute_force import arrays, value_and_gradients

from jaxlib_methods.attention import kron_attention, kron_attention_with_lse
from jaxlib_methods.attention.kronecker import pallas
from jaxlib_methods.attention.kronecker.heads import full_masks, make_problem, make_windows, over_heads

if hasattr(plgpu, "InterpretGPUParams"):
    SIMULATOR = plgpu.InterpretGPUParams(detect_races=True)
else:  # not yet public in jax 0.10
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    SIMULATOR = InterpretGPUParams(detect_races=True)


def simulated(q, ks, vs, windows):
    """The kernel on a simulated GPU, whose fresh memory is NaN, at any dtype and width."""
    spans = make_windows(windows, True, q.shape[-3], [k.shape[-3] for k in ks])
    problem = make_problem(q, ks, 0.5, spans, "trilinear", "product", 16, 16, None)
    kernel = lambda q, ks, vs, *_: pallas.attend_pallas(problem, SIMULATOR, q, ks, vs)
    return over_heads(kernel, q, ks, vs, full_masks(None, ks))


def assert_near(ours, args, windows, tolerance):
    """Values and gradients against double precision on the same numbers, relative in norm."""
    wide = jax.tree.map(lambda x: np.asarray(x).astype(np.float64), args)
    with jax.enable_x64(True):
        truth = jax.tree.map(np.asarray, brute_force.attention(*wide, scale=0.5, windows=windows))
    for mine, right in zip(jax.tree.leaves(ours), jax.tree.leaves(truth), strict=True):
        mine, seen = np.asarray(mine, float), np.isfinite(right)
        np.testing.assert_array_equal(mine[~seen], right[~seen])
        assert np.linalg.norm(mine[seen] - right[seen]) < tolerance * np.linalg.norm(right[seen])


@pytest.mark.parametrize(
    ("n", "lengths", "windows"),
    [
        (70, (70, 70), (20, 33)),
        (70, (70, 70), (3, 100)),
        (70, (70, 70), (100, 5)),
        (70, (70, 70), (1, 1)),
        (70, (75, 90), None),  # keys before the first query
        (70, (40, 66), (9, 70)),  # queries before the first key
    ],
)
def test_values_and_gradients_are_those_of_the_whole_tensor(n, lengths, windows):
    """In float32, whose rounding is 6e-8, over sums of at most 70 x 90 terms; tiles and windows divide nothing."""
    assert n % pallas.TILE
    args = jax.tree.map(jnp.float32, arrays(n=n, lengths=lengths, heads=1, kv=1, batch=()))
    ours = value_and_gradients(functools.partial(simulated, windows=windows), *args)
    assert_near(ours, args, windows or (200, 200), 2e-6)


def test_grouped_heads_batches_and_exchanged_axes_through_the_public_function(monkeypatch):
    """In bfloat16, which rounds q o k_1, the weights and the results by 2^-9 each."""
    on_simulator = lambda problem, _, *args, kernel=pallas.attend_pallas: kernel(problem, SIMULATOR, *args)
    monkeypatch.setattr(pallas, "attend_pallas", on_simulator)
    shape = dict(n=24, lengths=(24, 24), heads=6, kv=2, batch=(2,), d=64, e=64)
    args = jax.tree.map(lambda x: jnp.asarray(x / 2, jnp.bfloat16), arrays(**shape))
    call = functools.partial(kron_attention_with_lse, scale=0.5, windows=(24, 7), impl="pallas")
    ours = value_and_gradients(call, *args)
    assert {x.dtype for x in jax.tree.leaves((ours[0][0], ours[1]))} == {jnp.dtype(jnp.bfloat16)}
    assert_near(ours, args, (24, 7), 1e-2)


def gradients(q, ks, vs, **options):
    loss = lambda *args: sum(jnp.sum(x.astype(jnp.float32)) for x in kron_attention_with_lse(*args, **options))
    return jax.grad(loss, argnums=(0, 1, 2))(q, ks, vs)


@pytest.mark.parametrize(
    ("width", "values", "dtype"), [(64, 64, jnp.bfloat16), (128, 128, jnp.bfloat16), (64, 128, jnp.float16)]
)
def test_lowers_for_cuda_with_tensor_core_products(width, values, dtype):
    x, k, v = (jax.ShapeDtypeStruct((2, 100, h, w), dtype) for h, w in ((8, width), (2, width), (2, values)))
    lowered = {}
    for impl in ("pallas", "blockwise"):
        run = jax.jit(functools.partial(gradients, windows=(32, 70), impl=impl))
        lowered[impl] = run.trace(x, (k, k), (v, v)).lower(lowering_platforms=("cuda",)).as_text()
    assert "mosaic_gpu" in lowered["pallas"]
    assert "wgmma" in lowered["pallas"]
    assert "mosaic_gpu" not in lowered["blockwise"]


def test_bad_backends_are_refused_when_compiled():
    x = jnp.zeros((70, 1, 64), jnp.bfloat16)
    with pytest.raises(ValueError, match="Only interpret mode is supported on CPU"):
        kron_attention(x, (x, x), (x, x), causal=True, impl="pallas")


X, Y = jnp.ones((5, 4, 64), jnp.bfloat16), jnp.ones((5, 2, 64), jnp.bfloat16)
MASK = jnp.ones(5, bool)
BAD = [
    ((X, (Y,), (Y,)), {}, "ks must be of order 3 for impl='pallas', got order 2"),
    ((X, (Y, Y), (Y, Y)), dict(logits="separable"), "logits must be 'trilinear' for impl='pallas'"),
    ((X, (Y, Y), (Y, Y)), dict(logits="norm"), "logits must be 'trilinear' for impl='pallas'"),
    ((X, (Y, Y), (Y, Y)), dict(values="outer"), "values must be 'product' for impl='pallas'"),
    ((X, (Y, Y), (Y, Y)), dict(causal=False), "windows must be given, or causal=True, for impl='pallas', got None"),
    ((X, (Y, Y), (Y, Y)), dict(key_masks=(None, MASK)), "key_masks must be None for impl='pallas'"),
    (jax.tree.map(jnp.float32, (X, (Y, Y), (Y, Y))), {}, "the dtype of q must be bfloat16 or float16"),
    ((X, (Y, jnp.float16(Y)), (Y, Y)), {}, "the dtype of ks must be that of q, bfloat16, for impl='pallas'"),
    ((X[..., :48], (Y[..., :48],) * 2, (Y, Y)), {}, "the last axis of q must be 64 or 128 for impl='pallas', got 48"),
    ((X, (Y, Y), (Y[..., :32],) * 2), {}, "the last axis of vs must be 64 or 128 for impl='pallas', got 32"),
]


@pytest.mark.parametrize(("args", "options", "message"), BAD)
def test_bad_arguments_are_named(args, options, message):
    with pytest.raises(ValueError, match=message):
        kron_attention(*args, impl="pallas", **dict(causal=True) | options)


def test_bad_meshes_are_refused(mesh8):
    with pytest.raises(ValueError, match="impl must be 'auto' or 'blockwise' with a mesh"):
        kron_attention(X, (Y, Y), (Y, Y), windows=2, impl="pallas", mesh=mesh8)
