"""Oracles: the published size, flax's own layers, symmetries of the pyramid, the limit of zero residual branches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.models.unet import Attention, Block, GroupNorm, UNet, UNetConfig, noise_positions
from jaxlib_methods.diffusion import edm_denoiser
from jaxlib_methods.nn import nnx_functional
from jaxlib_methods.runtime.mesh import replicate, shard_rows

TINY = UNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(4,), dropout=0.3, labels=3)


@functools.cache
def network():
    """The network as a compiled function of its parameters, which are random and of ordinary size."""
    apply, params, rest = nnx_functional(UNet(TINY, size=8, channels=2, rngs=nnx.Rngs(0)))
    assert not jax.tree.leaves(rest)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.jit(lambda params, *args: apply(params, rest, *args)[0]), tree.unflatten(leaves)


@pytest.fixture
def batch():
    keys = jax.random.split(jax.random.key(2), 3)
    return (
        jax.random.normal(keys[0], (8, 8, 8, 2)),
        jax.random.normal(keys[1], (8,)),
        jax.random.normal(keys[2], (8, 3)),
    )


def count(config, size, channels):
    state = nnx.state(nnx.eval_shape(lambda: UNet(config, size=size, channels=channels, rngs=nnx.Rngs(0))))
    return sum(leaf.size for leaf in jax.tree.leaves(state))


def test_the_network_of_cifar10_has_the_published_size():
    assert count(UNetConfig(), 32, 3) == 55_733_891


@pytest.mark.parametrize("dropped", ["labels", "attention", "blocks"])
def test_the_size_counts_every_part(dropped):
    """Differences that follow from the definition: labels alone; one attention more a block; blocks and their joins."""
    base = UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(8,), labels=3)
    attention = 2 * 8 + 8 * 24 + 24 + 8 * 8 + 8
    block = lambda inputs: (
        2 * inputs + 2 * 8 + 9 * inputs * 8 + 9 * 64 + 2 * 8 + 32 * 8 + 8 + (inputs != 8) * (inputs * 8 + 8)
    )
    less, difference = {
        "labels": (UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(8,), labels=0), 3 * 8),
        "attention": (UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), labels=3), 2 * attention),
        "blocks": (UNetConfig(width=8, multipliers=(1,), blocks=0, attention=(8,), labels=3), attention),
    }[dropped]
    if dropped == "blocks":
        difference += block(8) + block(16)
    assert count(base, 8, 1) - count(less, 8, 1) == difference


def test_an_untrained_network_gives_almost_zero_so_that_the_denoiser_is_its_skip():
    params = nnx_functional(UNet(TINY, size=8, channels=2, rngs=nnx.Rngs(0)))[1]
    x = jax.random.normal(jax.random.key(0), (8, 8, 8, 2))
    denoised = edm_denoiser(network()[0])(params, x, 0.5)
    assert 0 < np.abs(denoised - x / 2).max() < 1e-3


def test_an_untrained_block_only_rescales():
    block = Block(8, 8, 4, dropout=0.0, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    np.testing.assert_allclose(block(x, jnp.ones((2, 4)), None), np.sqrt(0.5) * x, atol=1e-3)


def test_group_norm_is_that_of_flax():
    keys = jax.random.split(jax.random.key(0), 3)
    x = 2 + jax.random.normal(keys[0], (3, 4, 4, 24))
    ours, theirs = GroupNorm(24), nnx.GroupNorm(24, num_groups=6, epsilon=1e-6, rngs=nnx.Rngs(0))
    for norm in (ours, theirs):
        norm.scale[...], norm.bias[...] = jax.random.normal(keys[1], (24,)), jax.random.normal(keys[2], (24,))
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)
    assert GroupNorm(512).groups == 32
    assert np.all(np.isfinite(ours(jnp.full((1, 4, 4, 24), 1e4))))


def test_attention_is_softmax_attention_and_does_not_know_where_pixels_lie():
    attention = Attention(8, rngs=nnx.Rngs(0))
    attention.proj.kernel[...] = jax.random.normal(jax.random.key(3), (8, 8))
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    shuffle = jax.random.permutation(jax.random.key(1), 16)
    shuffled = lambda images: images.reshape(2, 16, 8)[:, shuffle].reshape(images.shape)
    np.testing.assert_allclose(attention(shuffled(x)), shuffled(attention(x)), atol=1e-5)
    q, k, v = np.split(np.asarray(attention.qkv(attention.norm(x))).reshape(2, 16, 24), 3, axis=2)
    weights = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(8))
    attended = (weights / weights.sum(2, keepdims=True)) @ v
    expected = np.sqrt(0.5) * (x + attention.proj(attended.reshape(x.shape)))
    np.testing.assert_allclose(attention(x), expected, atol=1e-5)


def test_noise_positions_are_pairs_on_circles_with_frequencies_from_one_to_1e_4():
    noise = jnp.array([0.0, 0.7, -1.3])
    sines, cosines = np.split(np.asarray(noise_positions(noise, 12)), 2, axis=1)
    np.testing.assert_allclose(sines**2 + cosines**2, 1, rtol=1e-6)
    np.testing.assert_allclose(sines[:, 0], np.sin(noise), rtol=1e-6)
    np.testing.assert_allclose(sines[:, -1], np.sin(noise * 1e-4), rtol=1e-5)
    np.testing.assert_allclose(np.diff(np.log(np.arcsin(sines[1]))), -np.log(1e4) / 5, rtol=1e-4)


@pytest.mark.parametrize("move", [lambda x, h, w: jnp.flip(x, w), lambda x, h, w: jnp.swapaxes(x, h, w)])
def test_mirrored_kernels_on_mirrored_images_give_mirrored_outputs(batch, move):
    apply, params = network()
    x, *told = batch
    moved = jax.tree.map(lambda leaf: move(leaf, 0, 1) if leaf.ndim == 4 else leaf, params)
    expected = move(apply(params, x, *told), 1, 2)
    np.testing.assert_allclose(apply(moved, move(x, 1, 2), *told), expected, atol=2e-4 * np.abs(expected).max())


def test_images_of_a_batch_do_not_know_each_other(batch):
    apply, params = network()
    whole = apply(params, *batch)
    alone = apply(params, *(array[3:4] for array in batch))
    np.testing.assert_allclose(alone, whole[3:4], atol=1e-5 * np.abs(whole).max())


def test_noise_and_labels_are_heard_and_no_label_means_zero(batch):
    apply, params = network()
    x, noise, labels = batch
    output = apply(params, x, noise, labels)
    assert np.abs(output - apply(params, x, noise + 1, labels)).max() > 1e-3
    assert np.abs(output - apply(params, x, noise, labels + 1)).max() > 1e-3
    np.testing.assert_allclose(apply(params, x, noise), apply(params, x, noise, 0 * labels), rtol=1e-5, atol=1e-5)


def test_dropout_needs_a_key_and_is_a_function_of_it(batch):
    apply, params = network()
    one, again, other = (apply(params, *batch, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - apply(params, *batch)).max() > 1e-3


def test_dropout_keeps_the_mean_of_a_block_s_last_convolution():
    block = Block(8, 8, 4, dropout=0.3, rngs=nnx.Rngs(0))
    block.conv1.kernel[...] = jax.random.normal(jax.random.key(0), (3, 3, 8, 8))
    x, told = jax.random.normal(jax.random.key(1), (1, 4, 4, 8)), jnp.ones((1, 4))
    outputs = jax.vmap(lambda key: block(x, told, key))(jax.random.split(jax.random.key(2), 4096))
    error = outputs.std(0) / 64
    assert np.mean(np.abs(outputs.mean(0) - block(x, told, None)) < 3 * error) > 0.98


def test_gradients_reach_every_parameter(batch):
    apply, params = network()
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(apply(p, *batch, jax.random.key(0)) ** 2)))(params)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.all(np.isfinite(leaf)), path
        assert np.abs(leaf).max() > 0, path


def test_eight_devices_agree_with_one_on_value_and_gradient_without_gathering(mesh8, batch):
    apply, params = network()
    value_and_grad = jax.jit(jax.value_and_grad(lambda p, *args: jnp.mean(apply(p, *args) ** 2)))
    placed = replicate(params, mesh8), *shard_rows(batch, mesh8)
    compiled = value_and_grad.lower(*placed).compile()
    assert "all-gather" not in compiled.as_text()
    one, eight = value_and_grad(params, *batch), compiled(*placed)
    for ours, theirs in zip(jax.tree.leaves(eight), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


def test_bad_size_is_named():
    with pytest.raises(ValueError, match="size must be a multiple of 4 for 3 levels, got 10"):
        UNet(UNetConfig(), size=10, channels=3, rngs=nnx.Rngs(0))
