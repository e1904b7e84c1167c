"""Oracles: stored kernels, spectra and curves, the general algebra, sum rules, eigenvalues of a sampled matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.generalization import Eigenstructure, krr_errors
from jaxlib_methods.numerics import gram

COSINES = (0.3, -0.5, 0.9, 0.1)


@pytest.mark.parametrize(
    ("filters", "ntk", "nngp"),
    [
        ((2,), 0.6768978331, 0.4677958074),
        ((2, 2), 1.062149764, 0.5930720403),
        ((2, 2, 2), 1.418393542, 0.6726740429),
    ],
)
def test_kernels_have_the_stored_values_and_those_of_equal_inputs(filters, ntk, nngp, x64):
    ours = iw.hierarchical_kernel(jnp.array(COSINES), filters)
    np.testing.assert_allclose(ours, (nngp, ntk), rtol=3e-10)
    np.testing.assert_allclose(iw.hierarchical_kernel(jnp.ones(4), filters), (1, len(filters) + 1), rtol=1e-14)


@pytest.mark.parametrize("layer", [iw.conv, iw.local_conv])
def test_they_are_kernels_of_the_general_algebra_with_or_without_weight_sharing(layer, x64):
    """ReLU with weights of standard deviation 2^(1/2); the first of s_1^(1/2), as a patch has unit length."""
    relu = iw.activation("relu")
    first = layer(1, (3,), strides=(3,), weight_std=3**0.5)
    second = layer(1, (2,), strides=(2,), weight_std=2**0.5)
    network = iw.serial(first, relu, second, relu, iw.flatten(), iw.dense(1, weight_std=2**0.5))
    x, y = (iw.multisphere(jax.random.key(i), 4, 4, 3, dtype=jnp.float64) for i in range(2))
    general = jax.jit(lambda x, y: iw.network_kernel(network, x.reshape(4, 12, 1), y.reshape(4, 12, 1), get="both"))(
        x, y
    )
    ours = gram(lambda a, b: iw.hierarchical_kernel(iw.patch_cosines(a, b), (3, 2)), x, y, block=3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, general)


def test_overlapping_filters_are_kernels_of_the_general_algebra(x64):
    relu, step = iw.activation("relu"), iw.conv(1, (2,), padding="CIRCULAR", weight_std=2**0.5)
    first = iw.conv(1, (3,), strides=(3,), weight_std=3**0.5)
    network = iw.serial(first, relu, step, relu, step, relu, iw.flatten(), iw.dense(1, weight_std=2**0.5))
    x, y = (iw.multisphere(jax.random.key(i), 4, 5, 3, dtype=jnp.float64) for i in range(2))
    general = jax.jit(lambda x, y: iw.network_kernel(network, x, y, get="both"))
    ours = iw.hierarchical_kernel(iw.patch_cosines(x, y), (3, 2, 2), overlapping=True)
    truth = general(x.reshape(4, 15, 1), y.reshape(4, 15, 1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, truth)


def test_overlapping_spectra_sum_up_and_are_those_of_a_sampled_matrix(x64):
    """Three circles, to the noise of 600 samples; the first harmonics of all circles are alike."""
    spectrum = iw.hierarchical_spectrum((2, 2), 3, 12, overlapping=True, nodes=60)
    for values, total, rounding in ((spectrum.nngp, 1, 2e-4), (spectrum.ntk, 3, 2e-2)):
        np.testing.assert_allclose(jnp.sum(values * spectrum.multiplicity), total, rtol=rounding)
        np.testing.assert_allclose(values, values.transpose(1, 2, 0), rtol=1e-6, atol=1e-14)
    x = iw.multisphere(jax.random.key(0), 600, 3, 2, dtype=jnp.float64)
    kernel = lambda a, b: iw.hierarchical_kernel(iw.patch_cosines(a, b), (2, 2), overlapping=True).ntk
    values = jnp.linalg.eigvalsh(jax.jit(lambda x: gram(kernel, x))(x) / len(x))[::-1]
    np.testing.assert_allclose(values[0], spectrum.ntk[0, 0, 0], rtol=0.03)
    np.testing.assert_allclose(values[1:7].mean(), spectrum.ntk[1, 0, 0], rtol=0.08)


@pytest.fixture(scope="module")
def spectra():
    """Two patches on circles, by the rule that a transform of 512 points would use."""
    with jax.enable_x64(True):
        return {filters: iw.hierarchical_spectrum(filters, 2, 255, nodes=257) for filters in ((2,), (2, 2))}


def test_eigenvalues_on_circles_have_the_stored_values_and_sum_to_the_kernel_of_equal_inputs(spectra, x64):
    spectrum = spectra[2, 2]
    stored = {
        (0, 0): 1.00016,
        (1, 0): 0.279593,
        (2, 0): 0.0884607,
        (1, 1): 0.0348182,
        (2, 2): 0.00443856,
        (3, 3): 0.000921676,
    }
    for degrees, value in stored.items():
        np.testing.assert_allclose(spectrum.ntk[degrees], value, rtol=6e-6)
    np.testing.assert_allclose(spectrum.nngp[1, 0], 0.080824, rtol=1e-5)
    np.testing.assert_allclose(spectrum.nngp[1, 1], 0.0058458, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(spectrum.ntk * spectrum.multiplicity), 3, rtol=2e-5)
    np.testing.assert_allclose(jnp.sum(spectrum.nngp * spectrum.multiplicity), 1, rtol=1e-8)


@pytest.mark.parametrize(
    ("teacher", "curve"),
    [
        ((2,), [0.2214, 0.1006, 0.0563, 0.0331, 0.0198, 0.0117, 0.0067]),
        ((2, 2), [0.769, 0.464, 0.291, 0.191, 0.129, 0.0879, 0.0605]),
    ],
)
def test_the_eigenframework_predicts_the_stored_curves(teacher, curve, spectra, x64):
    student, power = spectra[2, 2], spectra[teacher]
    flat = lambda a: jnp.maximum(a, 0).ravel()
    eigen = Eigenstructure(flat(student.ntk), flat(power.ntk * power.multiplicity), flat(student.multiplicity))
    sizes = 2.0 ** np.arange(4, 11)
    ours = krr_errors(eigen, sizes, 0.0)[0]
    np.testing.assert_allclose(ours, curve, rtol=4e-3, atol=1e-4)  # the printed digits
    assert jnp.all(jnp.diff(ours) < 0)
    prior = krr_errors(eigen, 1.0, 1e9)[0]  # a ridge that learns nothing
    np.testing.assert_allclose(prior, jnp.sum(eigen.v2), rtol=1e-6)


def test_quadrature_on_spheres_gives_the_eigenvalues_of_a_sampled_matrix(x64):
    """The constant and the first harmonics of three-dimensional patches, to the noise of 600 samples."""
    spectrum = iw.hierarchical_spectrum((3, 2), 2, 16, nodes=64)
    np.testing.assert_allclose(jnp.sum(spectrum.nngp * spectrum.multiplicity), 1, rtol=1e-3)
    x = iw.multisphere(jax.random.key(0), 600, 2, 3, dtype=jnp.float64)
    matrix = jax.jit(lambda x: gram(lambda a, b: iw.hierarchical_kernel(iw.patch_cosines(a, b), (3, 2)).ntk, x))(x)
    values = jnp.linalg.eigvalsh(matrix / len(x))[::-1]
    np.testing.assert_allclose(values[0], spectrum.ntk[0, 0], rtol=0.03)
    assert spectrum.multiplicity[1, 0] == 3
    np.testing.assert_allclose(values[1:7].mean(), spectrum.ntk[1, 0], rtol=0.08)


def test_harmonics_are_counted():
    """Homogeneous polynomials of degree k are those harmonics of degrees k, k - 2, ..."""
    for dim in (2, 3, 5):
        for degree in range(6):
            polynomials = np.prod([(degree + i) / i for i in range(1, dim)])
            total = sum(iw.harmonic_multiplicity(k, dim) for k in range(degree, -1, -2))
            np.testing.assert_allclose(total, polynomials)


def test_exponents_have_the_stated_values():
    exponents = lambda *filters, **nu: iw.hierarchical_exponents(*filters, **nu)
    deep = (2, 2, 2)
    betas = [exponents(deep[:depth], deep).beta for depth in (1, 2, 3)]
    np.testing.assert_allclose(betas, [0.625, 5 / 12, 0.25])
    assert exponents(deep, deep).dimensions == (1, 2, 4)
    assert exponents(deep, deep).alpha == 1.25
    assert exponents((2,), (2, 2)).beta == 0.75
    assert exponents((2, 2), (2, 2)).beta == 0.5
    saturated = exponents((2,), (2, 2), teacher_nu=50.0)
    np.testing.assert_allclose(saturated.beta, 2 * (1 + 2) / 2)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("filters must be", lambda: iw.hierarchical_kernel(jnp.ones(4), ())),
        ("filters must be", lambda: iw.hierarchical_kernel(jnp.ones(4), (1,))),
        ("filters must be of sizes that divide", lambda: iw.hierarchical_kernel(jnp.ones(4), (2, 3))),
        ("filters must be no larger", lambda: iw.hierarchical_kernel(jnp.ones(2), (2, 3), overlapping=True)),
        ("teacher must be", lambda: iw.hierarchical_exponents((3,), (2, 2))),
        ("student_nu must be", lambda: iw.hierarchical_exponents((2,), (2,), student_nu=0.0)),
        ("nodes must be", lambda: iw.hierarchical_spectrum((2,), 1, 10, nodes=10)),
        ("degree must be", lambda: iw.hierarchical_spectrum((2,), 1, 0)),
        ("dim must be", lambda: iw.multisphere(jax.random.key(0), 2, 2, 1)),
        ("y must be", lambda: iw.patch_cosines(jnp.ones((2, 2, 2)), jnp.ones((2, 3, 2)))),
    ],
)
def test_bad_arguments_are_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
