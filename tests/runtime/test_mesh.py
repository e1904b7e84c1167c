"""Oracles: one device against eight, the rows where they must lie, the words of each error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

from jaxlib_methods.runtime import axis_key, make_mesh, pad_and_shard_rows, replicate, shard_rows, to_host


@pytest.mark.parametrize("shape", ["data=4,model=2", " data = 4 , model = 2 ", {"data": 4, "model": 2}])
def test_text_and_mapping_give_the_same_automatic_mesh(shape):
    mesh = make_mesh(shape)
    assert dict(mesh.shape) == {"data": 4, "model": 2}
    assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)


def test_a_mesh_smaller_than_the_machine_takes_the_first_devices():
    assert set(make_mesh("data=3").devices.flat) == set(jax.devices()[:3])


def test_too_few_devices_are_named_with_the_way_to_simulate_them():
    with pytest.raises(ValueError, match=r"needs 32 devices, available: 8 .*JAX_NUM_CPU_DEVICES=32"):
        make_mesh("data=8,model=4")


@pytest.mark.parametrize(
    "bad", ["", "data", "data=", "data=two", "=2", "data=2,", "data=2,data=2", "data=-1", "data=2.0"]
)
def test_a_malformed_mesh_is_quoted(bad):
    with pytest.raises(ValueError, match=f"'data=4,model=2'.*got '{bad}'"):
        make_mesh(bad)


@pytest.mark.parametrize("bad", ["data=0", {"data": 0}, {"data": 1.5}, {}])
def test_bad_sizes_are_named(bad):
    with pytest.raises(ValueError, match="mesh"):
        make_mesh(bad)


def test_each_device_holds_its_block_of_rows():
    x = np.arange(16.0, dtype=np.float32).reshape(8, 2)
    tree = shard_rows({"x": x, "y": jnp.arange(4)}, make_mesh("data=4,model=2"))
    assert tree["x"].sharding.spec == P("data")
    for shard in tree["x"].addressable_shards:
        np.testing.assert_array_equal(shard.data, x[shard.index])
        assert shard.data.shape == (2, 2)
    np.testing.assert_array_equal(to_host(tree)["y"], np.arange(4))


@pytest.mark.parametrize("x", [np.ones((6, 2)), np.float32(1.0)])
def test_rows_that_do_not_divide_are_an_error_that_names_shape_and_axis(x):
    with pytest.raises(ValueError, match=r"data=4, got an array of shape"):
        shard_rows(x, make_mesh("data=4"))


@pytest.mark.parametrize("place", [shard_rows, pad_and_shard_rows])
def test_an_unknown_axis_is_named_with_the_known_ones(place):
    with pytest.raises(ValueError, match=r"'data'.*got 'rows'"):
        place(np.ones(4), make_mesh("data=4"), "rows")


@pytest.mark.parametrize("rows", [1, 7, 8, 13])
def test_a_masked_sum_over_padded_rows_equals_the_plain_sum(rows, mesh8):
    x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    padded, mask = pad_and_shard_rows(x, mesh8)
    assert padded.shape[0] % 8 == 0
    assert padded.sharding.spec == mask.sharding.spec == P("data")
    np.testing.assert_allclose(jnp.sum(padded * mask[:, None], axis=0), x.sum(0), rtol=1e-5, atol=1e-6)


def test_replicate_puts_the_whole_on_every_device(mesh2x4):
    key = replicate({"w": np.arange(3.0), "key": jax.random.key(1)}, mesh2x4)
    assert len(key["w"].addressable_shards) == 8
    assert all(shard.data.shape == (3,) for shard in key["w"].addressable_shards)
    assert key["key"] == jax.random.key(1)


def test_keys_differ_between_shards_and_fold_in_the_index(mesh8):
    keys = jax.shard_map(lambda k: axis_key(k, "data")[None], mesh=mesh8, in_specs=P(), out_specs=P("data"))(
        jax.random.key(5)
    )
    expected = jnp.stack([jax.random.fold_in(jax.random.key(5), i) for i in range(8)])
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(expected))
