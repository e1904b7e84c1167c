"""Oracles: stored kernels, the rules applied to pairs of positions by loops, symmetries, two ways to one network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

STD = dict(weight_std=1.3, bias_std=0.2)
RELU, ERF = iw.activation("relu"), iw.activation("erf")
DENSE = iw.dense(1, **STD)
CONV = iw.conv(1, (3, 3), padding="SAME", **STD)
CIRCULAR = iw.conv(1, (3, 3), padding="CIRCULAR", **STD)
GAP, FLAT = iw.global_avg_pool(), iw.flatten()


def wave(*shape):
    n = np.arange(np.prod(shape))
    return np.sin(1 + 0.7 * n + 0.013 * n**2).reshape(shape)


@functools.cache
def compiled(network):
    return jax.jit(lambda x1, x2: iw.network_kernel(network, x1, x2, get="both"))


def kernels(network, x1, x2=None):
    return compiled(network)(x1, x2)


def three(k):
    """Entries 11, 12 and 22."""
    return [k[0, 0], k[0, 1], k[1, 1]]


def deep(name):
    return iw.serial(DENSE, iw.activation(name), DENSE, iw.activation(name), DENSE)


@pytest.mark.parametrize(
    ("name", "ntk", "nngp"),
    [
        (
            "relu",
            [2.0924295863, 0.2530215752, 1.5507811355, 1.9708763588, 0.2558949516, 2.1674877986],
            [0.7354098621, 0.6948921196, 0.7604292662],
        ),
        ("erf", [2.5584691323, -1.8269935471, 1.9137923206, 2.5095269197, -1.5210649263, 2.5873215608], None),
        (
            "gelu",
            [1.5400491077, 0.0133823653, 1.2215305600, 1.4229226629, 0.0178537590, 1.6131036106],
            [0.5145168359, 0.4779953588, 0.5373180675],
        ),
    ],
)
def test_dense_networks_have_the_stored_kernels(name, ntk, nngp, x64):
    ours = kernels(deep(name), wave(3, 4))
    np.testing.assert_allclose(ours.ntk[np.triu_indices(3)], ntk, atol=1e-10)
    if nngp:
        np.testing.assert_allclose(jnp.diagonal(ours.nngp), nngp, atol=1e-10)


FLATTENED = iw.serial(CONV, RELU, CONV, RELU, FLAT, DENSE)
POOLED = iw.serial(CONV, RELU, CONV, RELU, GAP, DENSE)
WRAPPED = iw.serial(CIRCULAR, RELU, CIRCULAR, RELU, GAP, DENSE)
STRIDED = iw.serial(iw.conv(1, (3, 3), strides=(2, 2), **STD), ERF, iw.conv(1, (2, 2), **STD), ERF, FLAT, DENSE)
WITH_POOL = iw.serial(CONV, RELU, iw.avg_pool((2, 2)), CONV, RELU, GAP, DENSE)
RESIDUAL = iw.serial(CONV, iw.residual(RELU, CONV, RELU, CONV), GAP, DENSE)


@pytest.mark.parametrize(
    ("network", "size", "nngp", "ntk"),
    [
        (
            FLATTENED,
            5,
            [0.4619220243, 0.2587095693, 0.4086492188],
            [1.2719660724, 0.3759609166, 1.1121476560],
        ),
        (POOLED, 5, [0.2544752654, 0.2367905535, 0.2328483080], [0.3734545110, 0.3292035149, 0.3493643786]),
        (WRAPPED, 5, None, [0.6267143778, 0.5586584843, 0.5776504724]),
        (STRIDED, 6, None, [2.5152939703, -0.2284221907, 2.5213482909]),
        (WITH_POOL, 6, None, [0.2615180753, 0.2432074820, 0.2681991498]),
        (RESIDUAL, 5, None, [0.9834934886, 0.8834053039, 0.9991862855]),
    ],
    ids=["flatten", "pool", "circular", "strided", "average pool", "residual"],
)
def test_convolutional_networks_have_the_stored_kernels(network, size, nngp, ntk, x64):
    ours = kernels(network, wave(2, size, size, 3))
    np.testing.assert_allclose(three(ours.ntk), ntk, atol=1e-10)
    if nngp:
        np.testing.assert_allclose(three(ours.nngp), nngp, atol=1e-10)


def test_layer_norm_has_the_stored_kernel(x64):
    ours = kernels(iw.serial(DENSE, iw.layer_norm(), RELU, DENSE), wave(3, 4)).ntk
    np.testing.assert_allclose(jnp.diagonal(ours), 1.73, rtol=1e-10)
    np.testing.assert_allclose(ours[0, 1], -0.0605490542, atol=1e-10)


def padded_positions(by, length, size, stride):
    """For each output position the input positions of its window, None in the padding."""
    if by == "VALID":
        return [[o * stride + i for i in range(size)] for o in range((length - size) // stride + 1)]
    count = -(-length // stride)
    low = max((count - 1) * stride + size - length, 0) // 2
    inside = lambda i: i % length if by == "CIRCULAR" else (i if 0 <= i < length else None)
    return [[inside(o * stride + i - low) for i in range(size)] for o in range(count)]


@pytest.mark.parametrize("padding", ["VALID", "SAME", "CIRCULAR"])
@pytest.mark.parametrize(("size", "stride"), [(2, 1), (3, 2), (2, 3)])
def test_filters_meet_both_copies_at_one_offset_and_pools_at_any(padding, size, stride, x64):
    """By loops over positions and offsets, on images of one axis."""
    x, length = wave(2, 7, 2), 7
    pairs = np.einsum("ahc,bgc->abhg", x, x) / 2
    at = lambda h, g: 0 if h is None or g is None else pairs[:, :, h, g]
    seen = padded_positions(padding, length, size, stride)
    filtered, pooled = np.zeros((2, 2, 2, len(seen), len(seen)))
    for o, first in enumerate(seen):
        for p, second in enumerate(seen):
            filtered[:, :, o, p] = sum(at(h, g) for h, g in zip(first, second, strict=True)) / size
            inside = [sum(h is not None for h in where) for where in (first, second)]
            pooled[:, :, o, p] = sum(at(h, g) for h in first for g in second) / np.prod(inside)
    options = dict(strides=(stride,), padding=padding)
    ours = kernels(iw.conv(1, (size,), **options, **STD), x)
    np.testing.assert_allclose(ours.nngp, 1.69 * filtered + 0.04, rtol=1e-12)
    np.testing.assert_allclose(ours.ntk, ours.nngp, rtol=1e-12)
    pool = kernels(iw.avg_pool((size,), **options), x).nngp
    np.testing.assert_allclose(pool, pooled, rtol=1e-12, atol=1e-14)
    local = kernels(iw.local_conv(1, (size,), **options, **STD), x).ntk
    np.testing.assert_allclose(local, (1.69 * filtered + 0.04) * np.eye(len(seen)), rtol=1e-12)


def test_pools_that_count_padding_and_sums_differ_from_means_by_their_divisors(x64):
    x = wave(2, 5, 5, 2)
    options = dict(strides=(2, 2), padding="SAME")
    apply = lambda layer: layer.apply((), jnp.asarray(x))
    mean = iw.avg_pool((3, 3), **options, count_padding=True)
    total = iw.sum_pool((3, 3), **options)
    np.testing.assert_allclose(9 * apply(mean), apply(total), rtol=1e-12)
    np.testing.assert_allclose(81 * kernels(mean, x).nngp, kernels(total, x).nngp, rtol=1e-12)
    np.testing.assert_allclose(
        kernels(iw.global_sum_pool(), x).nngp, 25**2 * kernels(iw.global_avg_pool(), x).nngp, rtol=1e-12
    )


@pytest.mark.parametrize(
    "layer",
    [
        iw.avg_pool((2, 3), strides=(2, 1), padding="SAME"),
        iw.sum_pool((2, 2), padding="CIRCULAR"),
        iw.avg_pool((2, 2), strides=(1, 1)),
        iw.global_avg_pool(),
        iw.flatten(),
    ],
)
def test_the_kernel_of_linear_layers_is_the_product_of_their_outputs(layer, x64):
    """Channels tell copies apart: K of the outputs is their inner product over channels."""
    x, y = jnp.asarray(wave(2, 5, 5, 3)), jnp.asarray(wave(3, 5, 5, 3))[::-1]
    left, right = layer.apply((), x), layer.apply((), y)
    flat = left.ndim == 2
    truth = left @ right.T / left.shape[1] if flat else jnp.einsum("ahwc,bpqc->abhpwq", left, right) / 3
    np.testing.assert_allclose(kernels(layer, x, y).nngp, truth, rtol=1e-12, atol=1e-15)


def test_a_filter_of_one_pixel_is_a_dense_layer(x64):
    one = iw.conv(1, (1, 1), **STD)
    images, rows = wave(3, 1, 1, 4), wave(3, 4)
    by_conv = kernels(iw.serial(one, RELU, one, RELU, FLAT, DENSE), images)
    np.testing.assert_allclose(by_conv.ntk, kernels(deep("relu"), rows).ntk, rtol=1e-12)


def test_flattening_averages_equal_positions_of_all_pairs(x64):
    x = wave(2, 4, 4, 2)
    everything = kernels(iw.serial(CONV, RELU), x)
    flattened = kernels(iw.serial(CONV, RELU, FLAT), x)
    for full, mean in zip(everything, flattened, strict=True):
        np.testing.assert_allclose(jnp.einsum("abhhww->ab", full) / 16, mean, rtol=1e-12)


def test_pooling_over_circles_forgets_shifts_of_one_image(x64):
    x = wave(2, 5, 5, 3)
    shifted = np.roll(x, (1, 2), (1, 2))
    ours, truth = kernels(WRAPPED, x, shifted), kernels(WRAPPED, x, x)
    np.testing.assert_allclose(ours.ntk, truth.ntk, rtol=1e-10)


def test_locally_connected_networks_without_pools_have_the_kernels_of_convolutions(x64):
    local = iw.local_conv(1, (3, 3), padding="SAME", **STD)
    x = wave(2, 5, 5, 3)
    ours = kernels(iw.serial(local, RELU, local, RELU, FLAT, DENSE), x)
    np.testing.assert_allclose(ours.ntk, kernels(FLATTENED, x).ntk, rtol=1e-12)
    pooled = kernels(iw.serial(local, RELU, GAP, DENSE), x).ntk
    assert not np.allclose(pooled, kernels(iw.serial(CONV, RELU, GAP, DENSE), x).ntk)


def test_branches_add_join_and_multiply(x64):
    x = wave(3, 4)
    a, b = iw.serial(DENSE, RELU, iw.dense(2)), iw.serial(DENSE, ERF, iw.dense(2, bias_std=1.0))
    (ka, ta), (kb, tb) = kernels(a, x), kernels(b, x)
    total = kernels(iw.parallel(a, b), x)
    np.testing.assert_allclose(total, (ka + kb, ta + tb), rtol=1e-12)
    wide = iw.serial(DENSE, ERF, iw.dense(6, bias_std=1.0))
    joined = kernels(iw.parallel(a, wide, combine="concat"), x)
    np.testing.assert_allclose(joined, ((ka + 3 * kb) / 4, (ta + 3 * tb) / 4), rtol=1e-12)
    product = kernels(iw.parallel(a, b, a, combine="product"), x)
    np.testing.assert_allclose(product.nngp, ka**2 * kb, rtol=1e-12)
    np.testing.assert_allclose(product.ntk, 2 * ta * ka * kb + ka**2 * tb, rtol=1e-12)


def test_dropout_scales_the_covariance_of_an_entry_with_itself(x64):
    x, keep = wave(3, 4), 0.8
    before, network = iw.serial(DENSE, RELU), iw.serial(DENSE, RELU, iw.dropout(0.2))
    plain, dropped = kernels(before, x), kernels(network, x)
    scale = np.where(np.eye(3), 1 / keep, 1)
    np.testing.assert_allclose(dropped.ntk, scale * plain.ntk, rtol=1e-12)
    np.testing.assert_allclose(kernels(network, x, x).ntk, plain.ntk, rtol=1e-7)  # other draws
    tiles = jax.jit(lambda x: iw.network_gram(iw.serial(network, DENSE, RELU), x, block=2))(x)
    np.testing.assert_allclose(tiles, kernels(iw.serial(network, DENSE, RELU), x).ntk, rtol=1e-12)
    images = wave(2, 3, 2)
    pooled = iw.serial(iw.conv(1, (2,)), RELU, iw.dropout(0.2), GAP)
    full = kernels(iw.serial(iw.conv(1, (2,)), RELU), images).nngp
    eye = np.eye(2, dtype=bool)
    grown = np.where(eye[:, :, None, None] & eye, full / keep, full)
    np.testing.assert_allclose(kernels(pooled, images).nngp, grown.mean((2, 3)), rtol=1e-12)


def test_the_standard_parametrization_weighs_each_layer_by_its_inputs(x64):
    """T' = W_std^2 T + fan-in K + 1 behind inputs of width 4 and 8; biases count 1."""
    x, std = wave(3, 4), dict(**STD, parametrization="standard")
    ours = kernels(iw.serial(iw.dense(8, **std), RELU, iw.dense(1, **std)), x)
    first = kernels(DENSE, x)
    hidden = kernels(iw.serial(DENSE, RELU), x)
    np.testing.assert_allclose(ours.nngp, kernels(iw.serial(DENSE, RELU, DENSE), x).nngp, rtol=1e-12)
    own = 4 * (first.nngp - 0.04) / 1.69 + 1
    ratio = hidden.ntk / first.ntk  # V'
    np.testing.assert_allclose(ours.ntk, 1.69 * ratio * own + 8 * hidden.nngp + 1, rtol=1e-12)


def test_inner_pools_and_norms_need_and_get_the_covariances_within_an_image(x64):
    """Against a network of one image at a time, whose own covariance is that of the pair."""
    network = iw.serial(CONV, iw.layer_norm(), RELU, iw.avg_pool((2, 2)), CONV, ERF, FLAT, DENSE)
    x = wave(2, 4, 4, 2)
    both = kernels(network, x)
    alone = kernels(network, x[:1])
    np.testing.assert_allclose(both.ntk[0, 0], alone.ntk[0, 0], rtol=1e-12)
    np.testing.assert_allclose(both.ntk, both.ntk.T, rtol=1e-12)
    assert jnp.linalg.eigvalsh(both.nngp).min() > 0


def test_gradients_at_equal_inputs_are_finite_and_exact(x64):
    """The diagonal of the kernel of ReLU networks is homogeneous in the input: x . dK/dx = 2 K without biases."""
    network = iw.serial(iw.dense(1), RELU, iw.dense(1), RELU, iw.dense(1))
    total = lambda x: jnp.sum(jnp.diagonal(iw.network_kernel(network, x)))
    x = jnp.asarray(wave(3, 4))
    value, gradient = jax.jit(jax.value_and_grad(total))(x)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_allclose(jnp.sum(x * gradient), 2 * value, rtol=1e-12)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("width must be", lambda x: iw.dense(0)),
        ("weight_std must be", lambda x: iw.dense(1, weight_std=-1.0)),
        ("bias_std must be", lambda x: iw.conv(1, (3,), bias_std=float("nan"))),
        ("parametrization must be", lambda x: iw.dense(1, parametrization="mup")),
        ("padding must be", lambda x: iw.conv(1, (3, 3), padding="REFLECT")),
        ("strides must be", lambda x: iw.conv(1, (3, 3), strides=(1,))),
        ("filter_shape must be", lambda x: iw.conv(1, ())),
        ("filter or window must be", lambda x: iw.network_kernel(iw.conv(1, (9, 9)), x)),
        ("the input must be", lambda x: iw.network_kernel(iw.conv(1, (3,)), x)),
        ("rate must be", lambda x: iw.dropout(1.0)),
        ("eps must be", lambda x: iw.layer_norm(eps=0.0)),
        ("the layer before activation .* must be", lambda x: iw.network_kernel(RELU, x)),
        ("the layer before activation .* must be", lambda x: iw.network_kernel(iw.serial(CONV, RELU, ERF), x)),
        ("the layer before layer_norm must be", lambda x: iw.network_kernel(iw.layer_norm(), x)),
        ("branches must be", lambda x: iw.parallel()),
        ("combine must be", lambda x: iw.parallel(DENSE, combine="mean")),
        (
            "branches must be at most one",
            lambda x: iw.network_kernel(iw.serial(CONV, iw.parallel(RELU, ERF)), x),
        ),
        ("get must be", lambda x: iw.network_kernel(CONV, x, get="ntkk")),
        ("x2 must be", lambda x: iw.network_kernel(CONV, x, x[:, :3])),
        ("block must be", lambda x: iw.network_gram(POOLED, x, block=0)),
        ("kernel must be", lambda x: iw.network_gram(CONV, x)),
    ],
)
def test_bad_networks_and_inputs_are_named(message, call):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 5, 5, 1)))


def test_bad_inputs_of_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="x1 must have a floating dtype"):
        iw.network_kernel(DENSE, jnp.ones((2, 3), int))
