"""Oracles: kernels of neural-tangents 0.6.5, sequences without what was padded, means by hand, finite networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

STD = dict(weight_std=1.3, bias_std=0.2)
RELU, COS = iw.activation("relu"), iw.activation("cos")
DENSE, GAP, FLAT = iw.dense(1, **STD), iw.global_avg_pool(), iw.flatten()
CONV = iw.conv(1, (3, 3), padding="SAME", **STD)
STRIDED = iw.conv(1, (3, 2), strides=(2, 1), **STD)
ATTENTION = dict(logit_scale=1.08, weight_std=1.43, bias_std=0.2)


def wave(*shape):
    n = np.arange(np.prod(shape))
    return np.sin(1 + 0.7 * n + 0.013 * n**2).reshape(shape)


def kernels(network, x1, x2=None, side1=None, side2=None):
    run = jax.jit(lambda x1, x2, s1, s2: iw.network_kernel(network, x1, x2, get="both", side1=s1, side2=s2))
    return run(x1, x2, side1, side2)


def holes():
    mask = np.ones((2, 6, 5), bool)
    mask[0, 4:] = mask[0, :, 4] = mask[1, 0] = mask[1, 2:4, 1:3] = False
    return iw.Side(mask=jnp.asarray(mask))


@pytest.mark.parametrize(
    ("network", "nngp", "ntk"),
    [
        (
            iw.serial(CONV, RELU, CONV, RELU, FLAT, DENSE),
            [0.238693495814, 0.0780800019075, 0.236735953071],
            [0.618053820776, 0.0966002332057, 0.606547859044],
        ),
        (
            iw.serial(CONV, COS, CONV, COS, GAP, DENSE),
            [0.918581813005, 0.931346920964, 0.9562249936],
            [1.14404284306, 1.10775431478, 1.12712908412],
        ),
        (
            iw.serial(STRIDED, RELU, CONV, RELU, GAP, DENSE),
            [0.203235336298, 0.153970790028, 0.140783513361],
            [0.325475896311, 0.204774203068, 0.22288514108],
        ),
        (
            iw.serial(CONV, iw.residual(RELU, CONV), GAP, DENSE),
            [0.41925993847, 0.316412605485, 0.308049668149],
            [0.857391141486, 0.613062975285, 0.607025988272],
        ),
        (
            iw.serial(CONV, RELU, iw.self_attention(1, 1, 1, **ATTENTION), RELU, GAP, DENSE),
            [0.287745416361, 0.256579326733, 0.249634586318],
            [0.800643486345, 0.635643551038, 0.668481067526],
        ),
        (
            iw.serial(
                CONV,
                RELU,
                iw.self_attention(1, 1, 1, **ATTENTION, keys=iw.residual(iw.positional_embedding())),
                GAP,
                DENSE,
            ),
            [0.536033255519, 0.471869837371, 0.459554641965],
            [1.57601521362, 1.31995802136, 1.30474253617],
        ),
    ],
    ids=["flatten", "pool", "strided", "residual", "attention", "places"],
)
def test_networks_have_the_kernels_of_neural_tangents(network, nngp, ntk, x64):
    x = jnp.where(holes().mask[..., None], wave(2, 6, 5, 3), jnp.nan)
    ours = kernels(network, x, side1=holes())
    for kernel, stored in zip(ours, (nngp, ntk), strict=True):
        np.testing.assert_allclose([kernel[0, 0], kernel[0, 1], kernel[1, 1]], stored, rtol=1e-9)


NETWORK = iw.serial(
    iw.conv(8, (3,), padding="SAME", **STD),
    COS,
    iw.avg_pool((2,)),
    iw.residual(iw.positional_embedding()),
    iw.self_attention(8, 2, 4, bias_std=0.3),
    iw.residual(RELU, iw.conv(8, (3,), padding="SAME", **STD)),
    iw.conv_transpose(8, (3,), strides=(2,), padding="SAME", **STD),
    COS,
    iw.select(slice(0, None, 2)),
    iw.dropout(0.1),
    GAP,
    iw.dense(3, **STD),
)


def test_sequences_are_seen_without_what_is_behind_their_end(x64):
    """Of lengths 6 and 4, padded with other numbers to 8; kernels and a finite network."""
    x = jnp.asarray(wave(2, 8, 3))
    side = iw.Side(mask=jnp.asarray(np.arange(8) < np.array([[6], [4]])))
    ours = kernels(NETWORK, x, side1=side)
    long, short = x[:1, :6], x[1:, :4]
    for i, own in enumerate((long, short)):
        for ours_here, truth in zip(ours, kernels(NETWORK, own), strict=True):
            np.testing.assert_allclose(ours_here[i, i], truth[0, 0], rtol=1e-12)
    params, _ = NETWORK.init(jax.random.key(0), (8, 3), x.dtype)
    places = params[3][1][0]
    at = lambda length: (*params[:3], ((), (places[:length],)), *params[4:])
    y = jax.jit(NETWORK.apply)(params, x, side=side)
    np.testing.assert_allclose(y[:1], NETWORK.apply(at(3), long), rtol=1e-12)
    np.testing.assert_allclose(y[1:], NETWORK.apply(at(2), short), rtol=1e-12)


@pytest.mark.parametrize(
    "pool",
    [iw.avg_pool((2, 2), padding="SAME"), iw.avg_pool((3, 2), strides=(1, 1)), iw.sum_pool((2, 3)), GAP, FLAT],
)
def test_pools_average_what_is_present(pool, x64):
    """Outputs by sums over windows, kernels by products of outputs."""
    x, side = jnp.asarray(wave(2, 6, 5, 3)), holes()
    network = iw.serial(pool)
    y = network.apply(((),), x, side=side)
    zeroed = jnp.where(side.mask[..., None], x, 0)
    ones = jnp.broadcast_to(side.mask[..., None], x.shape).astype(float)
    total, count = (pool.apply((), a) for a in (zeroed, ones))
    is_mean = pool not in (FLAT,) and not np.isclose(count, np.round(count)).all()
    truth = jnp.where(count > 0, total / jnp.where(count > 0, count, 1), 0) if is_mean else total
    np.testing.assert_allclose(y, truth, rtol=1e-12, atol=1e-14)
    letters = "ac,bc->ab" if y.ndim == 2 else "ahwc,bpqc->abhpwq"
    products = jnp.einsum(letters, y, y) / y.shape[-1]
    np.testing.assert_allclose(kernels(network, x, side1=side).nngp, products, rtol=1e-12, atol=1e-14)


def test_a_mask_of_one_batch_meets_another_without(x64):
    network = iw.serial(CONV, RELU, iw.avg_pool((2, 2)), CONV, RELU, GAP, DENSE)
    x, side = wave(2, 6, 5, 3), holes()
    everything = iw.Side(mask=jnp.ones((2, 6, 5), bool))
    both = kernels(network, x, x, side, everything)
    np.testing.assert_allclose(kernels(network, x, x, side), both, rtol=1e-10)
    np.testing.assert_allclose(kernels(network, x, x, None, side).ntk, both.ntk.T, rtol=1e-10)
    np.testing.assert_allclose(kernels(network, x, side1=everything), kernels(network, x), rtol=1e-12)


def test_gradients_with_absent_positions_are_finite(x64):
    network = iw.serial(CONV, iw.layer_norm(), RELU, iw.self_attention(1, 1, 1), iw.activation("gelu"), GAP, DENSE)
    total = lambda x: jnp.sum(iw.network_kernel(network, x, side1=holes()))
    gradient = jax.jit(jax.grad(total))(jnp.asarray(wave(2, 6, 5, 3)))
    assert jnp.isfinite(gradient).all()
    assert not jnp.any(jnp.where(holes().mask[..., None], 0, gradient))


def test_layers_without_a_closed_form_pass_over_absent_positions(x64):
    x, side = jnp.asarray(wave(2, 6, 5, 3)) - 2, holes()
    present = np.asarray(side.mask)
    top = iw.serial(iw.max_pool((6, 5))).apply(((),), x, side=side)[:, 0, 0]
    np.testing.assert_allclose(top, [np.max(x[i][present[i]], 0) for i in range(2)])
    normal = np.asarray(iw.serial(iw.batch_norm()).apply(((),), x, side=side))
    np.testing.assert_allclose(normal[present].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(normal[present].var(0), 1, rtol=1e-3)
    assert not normal[~present].any()


def test_wide_networks_with_absent_positions_have_the_kernel():
    """Masks are packed behind the channels, so that inputs carry them; four standard errors and 5 %."""
    network = iw.serial(
        iw.conv(64, (3,), padding="SAME", **STD),
        RELU,
        iw.self_attention(64, 16, 32, bias_std=0.2),
        RELU,
        GAP,
        iw.dense(16, **STD),
    )
    x, mask = wave(2, 5, 3).astype(np.float32), np.arange(5) < np.array([[3], [5]])
    init = lambda key, shape: network.init(key, (5, 3))
    apply = lambda params, z: network.apply(params, z[..., :3], side=iw.Side(mask=z[..., 3] > 0))
    packed = jnp.concatenate([x, mask[..., None]], -1)
    ours = kernels(network, x, side1=iw.Side(mask=jnp.asarray(mask)))
    for get, truth in zip(("nngp", "ntk"), ours, strict=True):
        run = jax.jit(lambda key, x, get=get: iw.kernel_from_samples(key, init, apply, x, samples=40, get=get))
        sample = run(jax.random.key(0), packed)
        assert np.all(np.abs(sample.mean - truth) < 4 * sample.error + 0.05 * np.abs(truth)), (get, sample, truth)
