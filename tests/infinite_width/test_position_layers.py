"""Oracles: kernels of neural-tangents 0.6.5, closed forms by loops, finite networks, products of outputs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw

STD = dict(weight_std=1.3, bias_std=0.2)
RELU, ERF = iw.activation("relu"), iw.activation("erf")
DENSE, GAP, FLAT = iw.dense(1, **STD), iw.global_avg_pool(), iw.flatten()
CONV = iw.conv(1, (3, 3), padding="SAME", **STD)
SMALL, IMAGE, ROWS = (2, 4, 3, 3), (2, 5, 5, 3), (2, 5, 3)


def wave(*shape):
    n = np.arange(np.prod(shape))
    return np.sin(1 + 0.7 * n + 0.013 * n**2).reshape(shape)


def kernels(network, x1, x2=None, side1=None, side2=None):
    run = jax.jit(lambda *arguments: iw.network_kernel(network, *arguments[:2], get="both", **names(arguments[2:])))
    return run(x1, x2, side1, side2)


def names(sides):
    return dict(zip(("side1", "side2"), sides, strict=True))


def three(k):
    """Entries 11, 12 and 22."""
    return [k[0, 0], k[0, 1], k[1, 1]]


def attention(weights=jax.nn.softmax, **options):
    return iw.self_attention(1, 1, 1, weights=weights, logit_scale=1.08, weight_std=1.43, bias_std=0.2, **options)


def places(width=None, decay=False):
    return iw.positional_embedding(width, std=0.7, covariance=(lambda d: jnp.exp(-d / 2)) if decay else None)


def behind(layer, last=GAP, first=CONV):
    return iw.serial(first, RELU, layer, RELU, last, DENSE)


def resized(method, *shape, first=DENSE):
    return iw.serial(first, RELU, iw.image_resize(shape, method), CONV, RELU, GAP, DENSE)


def spread(padding, sizes, strides, last=GAP):
    layer = iw.conv_transpose(1, sizes, strides=strides, padding=padding, **STD)
    return iw.serial(layer, RELU, CONV, RELU, last, DENSE)


JOINED = iw.parallel(iw.identity(), places(2, decay=True), combine="concat")
ROOT = attention(None, scaling="root")
PICKED = iw.serial(CONV, RELU, iw.select(slice(1, 5, 2), 3), iw.conv(1, (2,), **STD), ERF, GAP, DENSE)
CROPPED = iw.serial(CONV, RELU, iw.select(slice(1, 4), slice(None, None, 2)), CONV, ERF, FLAT, DENSE)


@pytest.mark.parametrize(
    ("network", "shape", "nngp", "ntk"),
    [
        (
            behind(attention(), FLAT),
            SMALL,
            [0.271149853503, 0.261004299302, 0.309238360753],
            [0.754714867061, 0.61860319892, 0.912534685909],
        ),
        (
            behind(attention()),
            SMALL,
            [0.270831330596, 0.261013607265, 0.308920818944],
            [0.746018241941, 0.618659490164, 0.902873650847],
        ),
        (
            behind(attention(None)),
            SMALL,
            [0.516544877493, 0.578642433245, 0.832644863103],
            [1.43726192718, 1.43504702864, 2.54205012348],
        ),
        (
            iw.serial(CONV, ERF, attention(jax.nn.relu), RELU, GAP, DENSE),
            SMALL,
            [0.151749729197, 0.186532664719, 0.36079284551],
            [0.282625680225, 0.297937723143, 0.971088923124],
        ),
        (
            iw.serial(CONV, ERF, ROOT, RELU, FLAT, DENSE),
            SMALL,
            [1.96372065533, 0.724983436337, 2.28714983242],
            [15.8225527172, 0.785861653811, 18.4658322037],
        ),
        (
            iw.serial(CONV, ERF, ROOT, RELU, GAP, DENSE),
            SMALL,
            [0.79876146858, 0.727831691067, 1.09580809662],
            [2.26384284095, 0.829771016835, 4.12673571839],
        ),
        (
            iw.serial(CONV, RELU, iw.residual(places(decay=True)), attention(), GAP, DENSE),
            SMALL,
            [1.06399788734, 1.0380467226, 1.14324808379],
            [3.71419977543, 3.57858203351, 4.04221326327],
        ),
        (
            iw.serial(CONV, RELU, attention(keys=iw.residual(places())), GAP, DENSE),
            SMALL,
            [0.501953488953, 0.475374808557, 0.578092457171],
            [1.46767907001, 1.33018120356, 1.78321584114],
        ),
        (
            iw.serial(iw.conv(6, (3, 3), padding="SAME", **STD), RELU, attention(keys=JOINED), GAP, DENSE),
            SMALL,
            [0.502000286239, 0.475385082072, 0.577993347377],
            [1.46783876207, 1.33021887509, 1.78283285329],
        ),
        (
            iw.serial(CONV, RELU, iw.residual(places(decay=True)), ROOT, GAP, DENSE),
            SMALL,
            [17.6907789807, 14.6311175178, 22.1999158168],
            [129.462232648, 103.634738835, 164.148458333],
        ),
        (
            iw.serial(CONV, RELU, attention(None, scaling="root", keys=iw.residual(places())), GAP, DENSE),
            SMALL,
            [2.79010833507, 1.47098863462, 3.69916675199],
            [18.7440580498, 8.22227174221, 25.3436881657],
        ),
        (
            resized("nearest", 7, 8),
            IMAGE,
            [0.358377783584, 0.305903742221, 0.294155068607],
            [0.606588864802, 0.464871057851, 0.493283561544],
        ),
        (
            resized("nearest", 3, 3, first=CONV),
            IMAGE,
            [0.196248818606, 0.173238595063, 0.175619718015],
            [0.306840510812, 0.23304509574, 0.274912787775],
        ),
        (
            resized("linear", 7, 8),
            IMAGE,
            [0.303472005003, 0.277631054142, 0.278134108883],
            [0.527075614214, 0.45286315695, 0.499123095646],
        ),
        (
            resized("linear", 3, 2),
            IMAGE,
            [0.178206359166, 0.164608180904, 0.167190043101],
            [0.30940653834, 0.261104427305, 0.294695963164],
        ),
        (
            spread("VALID", (2, 3), (3, 1)),
            SMALL,
            [0.135474369377, 0.134156192326, 0.135819736277],
            [0.196900393684, 0.191639242603, 0.20047772279],
        ),
        (
            spread("SAME", (4, 2), (2, 2), FLAT),
            SMALL,
            [0.209895954049, 0.146790559096, 0.207715894984],
            [0.515887862036, 0.21957495319, 0.509347684951],
        ),
        (
            spread("SAME", (3, 3), (2, 2)),
            SMALL,
            [0.137862718516, 0.136386377453, 0.13784934174],
            [0.201082910654, 0.195904461348, 0.204892624219],
        ),
        (
            spread("CIRCULAR", (3, 3), (2, 2)),
            SMALL,
            [0.145272600343, 0.143796253478, 0.145857034965],
            [0.210868070058, 0.205256970071, 0.216349101454],
        ),
        (
            PICKED,
            IMAGE,
            [0.739814503441, 0.255705249941, 0.698092213677],
            [2.33448061222, 0.463848460574, 2.16261421801],
        ),
        (
            CROPPED,
            IMAGE,
            [0.537314339741, 0.233058969592, 0.501310269279],
            [1.56169636981, 0.441900483205, 1.43463788871],
        ),
    ],
)
def test_networks_have_the_kernels_of_neural_tangents(network, shape, nngp, ntk, x64):
    """Its ReLU kernels lose digits where inputs come close: 1e-9 of the diagonal."""
    ours = kernels(network, wave(*shape))
    np.testing.assert_allclose(three(ours.nngp), nngp, rtol=1e-9)
    np.testing.assert_allclose(three(ours.ntk), ntk, rtol=1e-9)
    np.testing.assert_allclose([ours.nngp[0, 1], ours.ntk[0, 1]], [nngp[1], ntk[1]], rtol=1e-11)


def test_graph_networks_have_the_kernels_of_neural_tangents(x64):
    """There a matrix of edges stands on the other side."""
    side = iw.Side(graph=wave(4, 5, 5)[:2].swapaxes(1, 2))
    for last, nngp, ntk in (
        (GAP, [0.603416152126, 0.554409196648, 0.614590861001], [1.26957170964, 0.93832775515, 1.28987767997]),
        (FLAT, [1.37183521487, 0.741119362869, 1.41533691936], [4.29259776033, 1.49513968159, 4.37516813945]),
    ):
        network = iw.serial(DENSE, RELU, iw.aggregate(), DENSE, RELU, last, DENSE)
        ours = kernels(network, wave(*ROWS), side1=side)
        np.testing.assert_allclose(three(ours.nngp), nngp, rtol=2e-9)
        np.testing.assert_allclose(three(ours.ntk), ntk, rtol=2e-9)


GRAPHS = wave(5, 2, 3, 5, 4)
MAPPED = [
    (iw.image_resize((7, 3), "cubic"), None),
    (iw.image_resize((3, 2), "lanczos3", antialias=False), None),
    (iw.image_resize((3, 6), "nearest"), None),
    (iw.select(slice(None, 1, -2), slice(1, None)), None),
    (iw.select(-1, slice(1, 3)), None),
    (iw.select(2, 0), None),
    (iw.map_positions(jnp.asarray(wave(3, 5, 4))), None),
    (iw.map_positions(jnp.asarray(wave(5, 4))), None),
    (iw.aggregate((2, 3)), iw.Side(graph=GRAPHS)),
    (iw.aggregate(()), iw.Side(graph=GRAPHS[:, 0, 0])),
]


@pytest.mark.parametrize(("layer", "side"), MAPPED)
def test_the_kernel_of_linear_layers_is_the_product_of_their_outputs(layer, side, x64):
    """Channels tell copies apart: K of the outputs is their inner product over channels."""
    x, y = jnp.asarray(wave(2, 5, 4, 3)), jnp.asarray(wave(3, 5, 4, 3))[::-1]
    first, second = (None, None) if side is None else (iw.Side(graph=side.graph[i]) for i in (slice(2), slice(2, 5)))
    left, right = layer.apply((), x, side=first), layer.apply((), y, side=second)
    shape = layer.init(jax.random.key(0), (5, 4, 3))[1]
    assert shape == left.shape[1:]
    letters = {2: ("ac,bc->ab"), 3: ("ahc,bpc->abhp"), 4: ("ahwc,bpqc->abhpwq")}[left.ndim]
    truth = jnp.einsum(letters, left, right) / 3
    np.testing.assert_allclose(kernels(layer, x, y, first, second).nngp, truth, rtol=1e-12, atol=1e-14)
    both = kernels(iw.serial(layer, FLAT) if left.ndim > 2 else layer, x, y, first, second).nngp
    count = left.shape[-1] * np.prod(shape[:-1])
    np.testing.assert_allclose(both, left.reshape(2, -1) @ right.reshape(3, -1).T / count, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", ["VALID", "SAME", "CIRCULAR"])
@pytest.mark.parametrize(("sizes", "strides"), [((3, 2), (2, 1)), ((2, 4), (3, 2))])
def test_transposed_convolutions_have_the_kernel_of_independent_weights(padding, sizes, strides, x64):
    """One filter at a time that is 1 at one offset: outputs by JAX's own layer, on circles by tiling."""
    x, (rows, columns) = jnp.asarray(wave(2, 4, 3, 2)), (4, 3)
    layer = iw.conv_transpose(1, sizes, strides=strides, padding=padding, **STD)
    turn = (lambda x: jnp.tile(x, (1, 3, 3, 1))) if padding == "CIRCULAR" else (lambda x: x)
    middle = (slice(None), *(slice(n * s, 2 * n * s) for n, s in zip((rows, columns), strides, strict=True)))
    after = lambda y: y[middle] if padding == "CIRCULAR" else y
    by = "VALID" if padding == "VALID" else "SAME"
    numbers = ("NHWC", "HWIO", "NHWC")
    reference = lambda w: after(jax.lax.conv_transpose(turn(x), w, strides, by, dimension_numbers=numbers))
    basis = jnp.eye(2 * np.prod(sizes)).reshape(*sizes, 2, -1)
    y = reference(basis)
    truth = 1.69 * jnp.einsum("ahwk,bpqk->abhpwq", y, y) / y.shape[-1] + 0.04
    ours = kernels(layer, x)
    np.testing.assert_allclose(ours.nngp, truth, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.ntk, truth, rtol=1e-12, atol=1e-14)
    params, shape = layer.init(jax.random.key(0), x.shape[1:], x.dtype)
    assert shape == (*y.shape[1:3], 1)
    finite = 1.3 * reference(params.weight) / y.shape[-1] ** 0.5 + 0.2 * params.bias.item()
    np.testing.assert_allclose(layer.apply(params, x), finite, rtol=1e-12, atol=1e-14)
    standard = iw.conv_transpose(1, sizes, strides=strides, padding=padding, **STD, parametrization="standard")
    own = y.shape[-1] * (truth - 0.04) / 1.69 + 1
    np.testing.assert_allclose(kernels(standard, x).ntk, own, rtol=1e-12, atol=1e-14)


def test_attention_is_the_sum_over_pairs_of_positions(x64):
    """From T = 3 K at the input on three positions, by loops."""
    x = wave(2, 3, 4)
    k = np.einsum("apc,bqc->abpq", x, x) / 4
    before = iw.map_positions(jnp.eye(3))
    tripled = before._replace(kernel=lambda state, wanted: dataclasses.replace(state, ntk=3 * state.nngp))
    weights = np.stack([np.asarray(jax.nn.softmax(1.08 * k[a, a])) for a in range(2)])
    softmax, root = np.zeros((2, 2, 2, 3, 3))
    for a, b, p, q in np.ndindex(2, 2, 3, 3):
        softmax[a, b, p, q] = sum(weights[a, p, i] * k[a, b, i, j] * weights[b, q, j] for i, j in np.ndindex(3, 3))
        root[a, b, p, q] = 1.08**2 * k[a, b, p, q] * sum(k[a, b, i, j] ** 2 for i, j in np.ndindex(3, 3))
    for layer, core, shares in ((attention(), softmax, 1), (ROOT, root, 3)):
        ours = kernels(iw.serial(tripled, layer), x)
        np.testing.assert_allclose(ours.nngp, 1.43**2 * core + 0.04, rtol=1e-12)
        own = shares + 1  # weights that it is linear in: values and those behind the heads, also queries and keys
        np.testing.assert_allclose(ours.ntk, 1.43**2 * (3 * shares + own) * core + 0.04, rtol=1e-12)


def test_attention_in_the_standard_parametrization_weighs_weights_by_their_inputs(x64):
    """2 heads of width 3 on 4 channels."""
    x = wave(2, 3, 4)
    plain, standard = (
        kernels(iw.self_attention(5, 2, 3, bias_std=0.2, weight_std=1.4, parametrization=name), x)
        for name in ("ntk", "standard")
    )
    np.testing.assert_allclose(standard.nngp, plain.nngp, rtol=1e-12)
    core = plain.nngp - 0.04
    np.testing.assert_allclose(standard.ntk, 4 * core + 6 * core / 1.4**2 + 1, rtol=1e-12)


def wide(layer, *, width=64):
    return iw.serial(iw.conv(width, (2,), padding="SAME", **STD), ERF, layer, RELU, GAP, iw.dense(16, **STD))


HEADS = dict(bias_std=0.2, weight_std=1.2)
FINITE = {
    "softmax": iw.self_attention(64, 16, 64, **HEADS, keys=iw.residual(places(decay=True))),
    "root": iw.self_attention(64, 64, 8, weights=None, scaling="root", **HEADS),
    "transposed": iw.conv_transpose(64, (3,), strides=(2,), padding="SAME", **STD),
    "joined places": iw.serial(iw.parallel(iw.identity(), places(32), combine="concat"), iw.dense(64, **STD)),
}


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_wide_networks_have_the_kernel(name, get):
    """The mean over 60 networks, to four standard errors and 5 % for their finite width."""
    network = wide(FINITE[name])
    x = wave(2, 4, 3).astype(np.float32)
    ours = jax.jit(lambda x: iw.network_kernel(network, x, get=get))(x)
    sample = jax.jit(lambda key, x: iw.kernel_from_samples(key, network.init, network.apply, x, samples=60, get=get))(
        jax.random.key(3), x
    )
    assert np.all(np.abs(sample.mean - ours) < 4 * sample.error + 0.05 * np.abs(ours)), (sample, ours)


def test_wide_graph_networks_have_the_kernel():
    """Edges are packed beside the channels, so that inputs carry them."""
    network = wide(iw.serial(iw.aggregate(), iw.dense(64, **STD)))
    x, graph = wave(2, 4, 3).astype(np.float32), wave(2, 4, 4).astype(np.float32)
    init = lambda key, shape: network.init(key, (4, 3))
    apply = lambda params, z: network.apply(params, z[..., :3], side=iw.Side(graph=z[..., 3:]))
    packed = jnp.concatenate([x, graph], -1)
    ours = kernels(network, x, side1=iw.Side(graph=graph)).ntk
    sample = jax.jit(functools.partial(iw.kernel_from_samples, init=init, apply=apply, samples=40))(
        jax.random.key(0), x1=packed
    )
    assert np.all(np.abs(sample.mean - ours) < 4 * sample.error + 0.05 * np.abs(ours))


@pytest.mark.parametrize(
    "layer", [attention(), ROOT, iw.image_resize((3,), "linear"), iw.conv_transpose(1, (3,), strides=(2,), **STD)]
)
def test_flattening_averages_equal_positions_of_all_pairs(layer, x64):
    """Equal positions alone where nothing else is asked, as among all pairs; and the variances in an inner layer."""
    x, first = wave(2, 4, 2), iw.serial(iw.conv(1, (2,), **STD), RELU, layer)
    last = iw.serial(iw.dense(1, **STD), iw.layer_norm(), ERF)
    everything, flattened = kernels(iw.serial(first, last), x), kernels(iw.serial(first, last, FLAT), x)
    for full, mean in zip(everything, flattened, strict=True):
        np.testing.assert_allclose(jnp.einsum("abhh->ab", full) / full.shape[2], mean, rtol=1e-12)


def test_tiles_carry_graphs_and_masks(x64):
    network = iw.serial(iw.aggregate(), DENSE, RELU, attention(), RELU, GAP, DENSE)
    x, side = wave(5, 4, 3), iw.Side(mask=wave(5, 4) > -0.5, graph=wave(5, 4, 4))
    truth = kernels(network, x, side1=side)
    part = jax.tree.map(lambda a: a[:3], side)
    gram = jax.jit(lambda x, side: iw.network_gram(network, x, get="both", block=2, side1=side))(x, side)
    block = jax.jit(
        lambda x, side, part: iw.network_gram(network, x, x[:3], get="both", block=2, side1=side, side2=part)
    )(x, side, part)
    for ours, others, whole in zip(gram, block, truth, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-12)
        np.testing.assert_allclose(others, whole[:, :3], rtol=1e-7)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("heads must be", lambda x: iw.self_attention(1, 0, 1)),
        ("head_width must be", lambda x: iw.self_attention(1, 1, 0)),
        ("width must be", lambda x: iw.self_attention(0, 1, 1)),
        ("scaling must be", lambda x: iw.self_attention(1, 1, 1, scaling="square")),
        ("logit_scale must be", lambda x: iw.self_attention(1, 1, 1, logit_scale=float("inf"))),
        ("the input must be", lambda x: iw.network_kernel(attention(), x[:, 0, 0])),
        ("the input must be", lambda x: attention().init(jax.random.key(0), (3,))),
        ("keys must be", lambda x: attention(keys=GAP).init(jax.random.key(0), (5, 3))),
        ("network must be .* by kernel_from_samples", lambda x: iw.network_kernel(attention(scaling="root"), x)),
        ("std must be", lambda x: iw.positional_embedding(std=-1.0)),
        ("width must be", lambda x: iw.positional_embedding(0)),
        ("the input must be", lambda x: iw.network_kernel(iw.positional_embedding(), x[:, 0, 0])),
        ("method must be", lambda x: iw.image_resize((3, 3), "area")),
        ("shape must be", lambda x: iw.image_resize((0, 3), "linear")),
        ("the input must be", lambda x: iw.network_kernel(iw.image_resize((3,), "linear"), x)),
        ("the input must be", lambda x: iw.select(0).apply((), x)),
        ("index must be", lambda x: iw.network_kernel(iw.select(7, 0), x)),
        ("index must be", lambda x: iw.select(slice(9, None), 0).apply((), x)),
        ("matrix must be", lambda x: iw.network_kernel(iw.map_positions(jnp.ones((3, 4))), x)),
        ("shape must be", lambda x: iw.aggregate((0,))),
        ("side.graph must be", lambda x: iw.network_kernel(iw.aggregate(), x)),
        (
            "side.graph must be",
            lambda x: iw.network_kernel(iw.aggregate(), x, side1=iw.Side(graph=jnp.ones((2, 5, 5)))),
        ),
        ("side1 must be", lambda x: iw.network_kernel(CONV, x, side1=iw.Side(mask=jnp.ones((2, 4, 5), bool)))),
        ("side2 must be", lambda x: iw.network_kernel(CONV, x, side2=iw.Side(mask=jnp.ones((2, 5, 5), bool)))),
        ("filter_shape must be", lambda x: iw.conv_transpose(1, ())),
        ("padding must be", lambda x: iw.conv_transpose(1, (3, 3), padding="REFLECT")),
        ("the input must be", lambda x: iw.network_kernel(iw.conv_transpose(1, (3,)), x)),
    ],
)
def test_bad_layers_and_inputs_are_named(message, call):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 5, 5, 1)))


def test_indices_that_are_not_slices_are_refused():
    with pytest.raises(TypeError, match="index"):
        iw.select([0, 1])
