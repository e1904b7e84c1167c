"""Eight devices equal one, values and gradients, and only the intended communication happens."""

import functools

import jax
import jax.numpy as jnp
import pytest
from attention.brute_force import arrays, assert_close, value_and_gradients

from jaxlib_methods.attention import kron_attention, kron_attention_poly, kron_attention_with_lse, poly_plan

PLAN = poly_plan(1.0, 2, 0.5)
POLY = lambda *args, **options: kron_attention_poly(*args, PLAN, scale=0.1, **options)
PATHS = {
    "ring": (kron_attention_with_lse, dict(n=13, lengths=(10, 17))),
    "causal ring": (functools.partial(kron_attention_with_lse, causal=True), dict(n=13, lengths=(13, 15))),
    "halo": (functools.partial(kron_attention_with_lse, windows=(2, 6)), dict(n=13, lengths=(13, 13))),
    "polynomial": (POLY, dict(n=13, lengths=(10, 17), d=2)),
    "causal polynomial": (functools.partial(POLY, causal=True), dict(n=13, lengths=(13, 13), d=2)),
    "windowed polynomial": (functools.partial(POLY, windows=(2, 6)), dict(n=13, lengths=(13, 13), d=2)),
}


@pytest.mark.parametrize("path", PATHS)
def test_eight_devices_equal_one_with_gradients(path, x64, mesh8):
    call, shape = PATHS[path]
    args = arrays(**shape, heads=2, kv=1, batch=(1,))
    ours = value_and_gradients(functools.partial(call, mesh=mesh8), *args)
    assert_close(ours, value_and_gradients(call, *args), 1e-10)


@pytest.mark.parametrize("path", ["ring", "halo"])
def test_sequence_with_batch_or_heads_on_a_second_axis(path, x64, mesh2x4):
    call, shape = PATHS[path]
    args = arrays(**shape, heads=4, kv=2, batch=(2,))
    split = functools.partial(dict, mesh=mesh2x4, axis="model")
    meshes = dict(), split(batch_axis="data"), split(head_axis="data")
    truth, *ours = jax.jit(lambda *args: [call(*args, **mesh) for mesh in meshes])(*args)
    assert_close(ours, [truth, truth], 1e-10)


@pytest.mark.parametrize("order", [2, 4])
def test_the_ring_turns_for_every_order(order, x64, mesh2x4):
    args = arrays(n=5, lengths=(6, 4, 5)[: order - 1], batch=(), heads=1, kv=1)
    ours, truth = jax.jit(lambda *args: [kron_attention(*args, mesh=mesh, axis="data") for mesh in (mesh2x4, None)])(
        *args
    )
    assert_close(ours, truth, 1e-11)


def compiled(call, mesh, spec, **shape):
    place = lambda x: jax.device_put(x, jax.NamedSharding(mesh, spec))
    args = jax.tree.map(place, arrays(**shape))
    loss = lambda *args: sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(call(*args)))
    return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*args).compile().as_text()


@pytest.mark.parametrize(
    ("path", "wanted"), [("ring", "collective-permute"), ("halo", "collective-permute"), ("polynomial", "all-reduce")]
)
def test_only_the_intended_communication(path, wanted, mesh8):
    call = functools.partial(PATHS[path][0], mesh=mesh8)
    text = compiled(call, mesh8, jax.P(None, "data"), n=16, lengths=(16, 16), d=2, batch=(1,), heads=1, kv=1)
    assert wanted in text
    others = {"collective-permute", "all-gather", "all-to-all"} - {wanted}
    assert not any(name in text for name in others)


def test_batch_and_heads_need_no_communication(mesh2x4):
    shape = dict(n=8, lengths=(8, 8), batch=(2,), heads=8, kv=4)
    text = compiled(functools.partial(kron_attention, causal=True), mesh2x4, jax.P("data", None, "model"), **shape)
    assert not any(name in text for name in ("collective-permute", "all-gather", "all-to-all"))


BAD = [
    (dict(axis="rows"), "the mesh axis must be one of"),
    (dict(axis="model", head_axis="data"), "the number of key heads must be a multiple of data=2"),
    (dict(axis="model", impl="reference"), "impl must be 'auto' or 'blockwise' with a mesh"),
    (dict(axis="model", windows=2), r"the length of ks\[1\] must be that of q"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_meshes_are_named(options, message, mesh2x4):
    args = jax.tree.map(jnp.asarray, arrays(n=5, lengths=(5, 7), heads=1, kv=1))
    with pytest.raises(ValueError, match=message):
        kron_attention(*args, mesh=mesh2x4, **options)
