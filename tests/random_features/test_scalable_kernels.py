"""Oracles: closed forms, a complex reference, Monte Carlo with stated confidence, limits, published formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import erf

from jaxlib_methods.random_features import (
    DensitySpectrum,
    FourierKernel,
    LineSpectrum,
    PowerSeriesKernel,
    ReluKernel,
    cosine_spectrum,
    exp_series,
    exponential_moments,
    gaussian_spectrum,
    gelu_series,
    linear_series,
    logistic_spectrum,
    optimal_damping,
    rescale_rows,
    sech_spectrum,
    sine_spectrum,
    snnk_constants,
    snnk_features,
    snnk_init,
    snnk_moments,
    snnk_weight_features,
    tanh_series,
    tanh_spectrum,
    transform_spectrum,
)

D = 4
SPLITS = ("sym", "input", "weight")
SPECTRA = {
    "cos": cosine_spectrum(),
    "sin": sine_spectrum(),
    "gauss": gaussian_spectrum(),
    "sech": sech_spectrum(),
    "tanh": tanh_spectrum(),
    "logistic": logistic_spectrum(stratified=False),
}
FOURIER = [
    pytest.param(FourierKernel(SPECTRA[name], *options), id=f"{name}-{options}")
    for name, *options in [
        ("cos", "sym"),
        ("cos", "input", 0.03),
        ("cos", "weight", 0.0, 1.25),
        ("sin", "input"),
        ("gauss", "sym", 0.03),
        ("gauss", "weight", 0.0, 1.25),
        ("sech", "sym"),
        ("tanh", "input", 0.0, 0.8),
        ("logistic", "weight"),
    ]
]
OTHERS = [
    pytest.param(kernel, id=name)
    for name, kernel in {
        "relu": ReluKernel(),
        "linear": PowerSeriesKernel(linear_series()),
        "gelu": PowerSeriesKernel(gelu_series(6)),
        "tanh taylor": PowerSeriesKernel(tanh_series(5), base=1.5),
        "exp": PowerSeriesKernel(exp_series(4)),
    }.items()
]
CASE = (jnp.array([0.5, -0.25, 0.1, 0.0]), jnp.array([0.2, 0.4, -0.6, 0.3]), jnp.array(0.3))

static = lambda function, *names: jax.jit(function, static_argnames=names)
draw = static(snnk_constants, "dim", "num_features", "kernel", "bias", "law", "dtype")
phi, psi = static(snnk_features, "kernel"), static(snnk_weight_features, "kernel")
moments = static(snnk_moments, "kernel")


def rows(seed, count=6, norm=0.5, dim=D, dtype=None):
    return rescale_rows(jax.random.normal(jax.random.key(seed), (count, dim), dtype), norm)


def products(kernel, key, x, w, b, m, law="gaussian"):
    """One estimate Phi_l Psi_l m for each pair of rows and each feature."""
    constants = draw(key, x.shape[1], m, kernel=kernel, bias=b is not None, law=law, dtype=x.dtype)
    both = phi(constants, x, kernel=kernel) * psi(constants, w.T, b, kernel=kernel).T
    return m * both.reshape(len(x), m, -1).sum(2)


def complex_reference(kernel, constants, x, w, b):
    """Phi and Psi in complex double precision, straight from the equations."""
    g, xi = np.asarray(constants.projections), np.asarray(constants.xi)
    t, s, damping, d = 2 * np.pi * xi, kernel.scale, kernel.damping, g.shape[1]
    root = np.exp(1j * np.pi * np.sign(t) / 4) * np.sqrt(np.abs(t))
    alpha, beta = {
        "sym": (s * root, root / s),
        "input": (1j * t * s, np.ones_like(t) / s),
        "weight": (np.full_like(t, s), 1j * t / s),
    }[kernel.split]

    def feature(a, v):
        z = a[None, :, None] * np.asarray(v)[:, None, :]
        exponent = np.sqrt(1 + 4 * damping) * (g * z).sum(2) - (z * z).sum(2) / 2 - damping * (g**2).sum(1)
        return (1 + 4 * damping) ** (d / 4) * np.exp(exponent)

    amplitude, phase = np.asarray(constants.amplitude), np.asarray(constants.phase)
    shift = np.exp(1j * phase + 2j * np.pi * xi * np.asarray(b)[:, None])
    return amplitude * feature(alpha, x), amplitude * shift * feature(beta, w)


@pytest.mark.parametrize("kernel", FOURIER)
def test_real_pairs_are_the_complex_features(kernel, x64):
    x, w, b = rows(0), rows(1), jnp.linspace(-1, 1, 6)
    constants = draw(jax.random.key(2), D, 24, kernel=kernel, dtype=jnp.float64)
    left, right = complex_reference(kernel, constants, x, w, b)
    ours = phi(constants, x, kernel=kernel) @ psi(constants, w.T, b, kernel=kernel)
    np.testing.assert_allclose(ours, (left @ right.T).real, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("split", SPLITS)
def test_conjugate_lines_with_the_same_projections_leave_no_imaginary_part(split, x64):
    kernel = FourierKernel(cosine_spectrum(), split)
    x, w, b = rows(0), rows(1), jnp.linspace(-1, 1, 6)
    constants = draw(jax.random.key(2), D, 16, kernel=kernel, dtype=jnp.float64)
    both = sum(
        left @ right.T / 2
        for sign in (1, -1)
        for left, right in [complex_reference(kernel, constants._replace(xi=sign * constants.xi), x, w, b)]
    )
    ours = phi(constants, x, kernel=kernel) @ psi(constants, w.T, b, kernel=kernel)
    np.testing.assert_allclose(both.imag, 0, atol=1e-13)
    np.testing.assert_allclose(ours, both.real, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kernel", FOURIER + OTHERS)
def test_estimates_are_unbiased_within_four_and_a_half_standard_errors_and_vary_as_predicted(kernel, x64):
    """The variance to 8 %: its own standard error is below 1.5 % at these lengths, where fourth moments are finite."""
    norm = 0.15 if getattr(kernel, "spectrum", None) is SPECTRA["sech"] else 0.3
    x, w, b, m = rows(0, 4, norm), rows(1, 4, norm), jnp.linspace(-0.6, 0.5, 4), 40_000
    mean, variance = moments(x, w, b, kernel=kernel)
    values = products(kernel, jax.random.key(3), x, w, b, m)
    assert jnp.all(jnp.abs(kernel.offset + values.mean(1) - mean) < 4.5 * jnp.sqrt(variance / m))
    lines = len(kernel.spectrum.lines) if stratified(kernel) else 1
    measured = values.reshape(4, m // lines, lines).var(1).mean(1)
    np.testing.assert_allclose(measured, variance, rtol=0.08)


@pytest.mark.parametrize("kernel", [ReluKernel(), *(FourierKernel(cosine_spectrum(), split) for split in SPLITS)])
def test_orthogonal_projections_keep_estimates_unbiased_within_four_standard_errors(kernel, x64):
    x, w, b = rows(0, 4), rows(1, 4), jnp.linspace(-0.6, 0.5, 4)
    values = products(kernel, jax.random.key(3), x, w, b, 40_000, "orthogonal")
    mean = moments(x, w, b, kernel=kernel)[0]
    blocks = values.reshape(4, -1, 20).mean(2)  # 20 rows are whole blocks of 4 or 5
    assert jnp.all(jnp.abs(values.mean(1) - mean) < 4 * blocks.std(1) / math.sqrt(blocks.shape[1]))


def stratified(kernel):
    return isinstance(kernel, FourierKernel) and getattr(kernel.spectrum, "stratified", False)


@pytest.mark.parametrize(("alpha", "beta"), [(1j, 1), (np.exp(0.25j * np.pi), np.exp(0.25j * np.pi)), (0.7, 0.4 - 1j)])
@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_moments_of_exponential_features_within_five_standard_errors(alpha, beta, damping, x64):
    x, w, n = rows(0)[0], rows(1)[0], 200_000
    g = np.random.default_rng(0).normal(size=(n, D))
    feature = lambda z: np.exp(
        math.sqrt(1 + 4 * damping) * g @ z - z @ z / 2 - damping * (g**2).sum(1) + D / 4 * math.log(1 + 4 * damping)
    )
    values = feature(alpha * np.asarray(x)) * feature(beta * np.asarray(w))
    exact = exponential_moments(alpha, beta, x, w, damping=damping)
    for truth, sample in zip(exact, (values, np.abs(values) ** 2, values**2), strict=True):
        assert abs(sample.mean() - truth) < 5 * sample.std() / math.sqrt(n)


def test_stated_values(x64):
    x, w, b = CASE
    for damping, variance in ((0.0, 1.028052), (0.05, 0.835423)):
        kernel = FourierKernel(cosine_spectrum(), "input", damping)
        np.testing.assert_allclose(moments(x, w, b, kernel=kernel), (0.971338, variance), atol=5e-7)
    np.testing.assert_allclose(moments(x, w, kernel=ReluKernel()), (0.0584954, 0.0332459), atol=5e-8)


@pytest.mark.parametrize("s", [0.0, 0.3, 1.0, 5.0])
def test_optimal_damping_is_the_minimum_and_the_published_formula(s, x64):
    x = jnp.zeros(D).at[0].set(math.sqrt(s))
    log_square = lambda m: float(jnp.log(exponential_moments(1.0, 1.0, x, jnp.zeros(D), damping=m)[1]))
    numerical = minimize_scalar(log_square, bounds=(0, 2), method="bounded", options={"xatol": 1e-9}).x
    rho = s / D
    favor = -(1 - 2 * rho - math.sqrt((2 * rho + 1) ** 2 + 8 * rho)) / 16
    ours = float(optimal_damping(jnp.array(s), D))
    assert abs(ours - favor) < 1e-14
    assert abs(ours - numerical) < 1e-6


def test_gaussian_spectrum_averages_to_the_closed_form_and_diverges_at_half(x64):
    """For x.w = 0, E |Y|^2 = e^(|w|^2) E e^(t^2 |x|^2) and E Y^2 = e^(|w|^2) E e^(-t^2 |x|^2 + 2 i t b)."""
    x, w, b = jnp.array([0.6, 0.0]), jnp.array([0.0, 0.7]), jnp.array(0.4)
    kernel = FourierKernel(gaussian_spectrum(), "input")
    a, lift = 0.36, math.exp(0.49)
    abs_square = lift / math.sqrt(1 - 2 * a)
    square = lift / math.sqrt(1 + 2 * a) * math.exp(-2 * 0.16 / (1 + 2 * a))
    truth = (abs_square + square) / 2 - math.exp(-0.16)
    assert abs(moments(x, w, b, kernel=kernel)[1] - truth) < 1e-10
    for length, finite in ((0.7, True), (0.7072, False), (1.0, False)):
        variance = jax.jit(lambda v: moments(v, w, kernel=kernel)[1])(jnp.array([length, 0.0]))
        assert bool(jnp.isfinite(variance)) == finite


@pytest.mark.parametrize("split", SPLITS)
def test_at_zero_every_feature_is_one_and_cos_is_exact(split, x64):
    zero, b = jnp.zeros((1, D)), jnp.array([0.7])
    kernel = FourierKernel(cosine_spectrum(), split)
    values = products(kernel, jax.random.key(0), zero, zero, b, 16)
    np.testing.assert_allclose(values, math.cos(0.7), rtol=1e-14)
    at_zero_weight = products(kernel, jax.random.key(0), rows(0, 1), zero, b, 16)
    assert at_zero_weight.std() > 0.05


@pytest.mark.parametrize("name", SPECTRA)
def test_spectra_give_their_function_back(name, x64):
    z = jnp.linspace(-2, 2, 41)
    xi, phase, log_weight = (np.asarray(a) for a in SPECTRA[name].nodes())
    weight = np.exp(log_weight)
    if isinstance(SPECTRA[name], LineSpectrum):
        weight = np.array([abs(w) for _, w in SPECTRA[name].lines])
    waves = (weight[:, None] * np.cos(2 * np.pi * xi[:, None] * np.asarray(z) + phase[:, None])).sum(0)
    truth = {
        "cos": np.cos,
        "sin": np.sin,
        "gauss": lambda z: np.exp(-(z**2) / 2),
        "sech": lambda z: 1 / np.cosh(np.pi * z),
    }.get(name, SPECTRA[name].function)
    np.testing.assert_allclose(SPECTRA[name].offset + waves, truth(z), atol=1e-9)
    np.testing.assert_allclose(SPECTRA[name].function(z), truth(z), rtol=1e-12, atol=1e-12)


def test_density_samples_follow_the_density_within_five_standard_errors(x64):
    for spectrum in (gaussian_spectrum(), sech_spectrum()):
        xi = spectrum.sample(jax.random.key(0), (100_000,), jnp.float64)
        for z in (0.3, 1.0):
            wave = np.cos(2 * np.pi * z * np.asarray(xi))
            assert abs(wave.mean() - spectrum.function(jnp.array(z))) < 5 * wave.std() / math.sqrt(len(wave))


def test_tanh_series_coefficients_are_those_of_quadrature():
    for xi, weight in tanh_spectrum(half_period=10.0, num_harmonics=4).lines:
        truth = quad(lambda z, xi=xi: math.tanh(z) * math.sin(2 * math.pi * xi * z) / 5, 0, 10, epsabs=1e-12)[0]
        assert abs(-complex(weight).imag - truth) < 1e-6


def test_tanh_series_is_odd_and_as_close_as_stated(x64):
    for count, reach, error in [
        (3, 1, 9.7e-2),
        (4, 1, 4.4e-2),
        (5, 1, 1.9e-2),
        (6, 1, 8.6e-3),
        (8, 3, 1.7e-3),
        (16, 3, 2.4e-6),
    ]:
        z, series = jnp.linspace(-reach, reach, 2001), tanh_spectrum(num_harmonics=count).function
        np.testing.assert_allclose(series(-z), -series(z), atol=1e-15)
        np.testing.assert_allclose(jnp.abs(series(z) - jnp.tanh(z)).max(), error, rtol=0.03)
    z = jnp.linspace(-6, 6, 101)
    series = logistic_spectrum(num_harmonics=16).function
    np.testing.assert_allclose(series(z), jax.nn.sigmoid(z), atol=1.2e-6)


def test_a_spectrum_of_your_own_is_the_built_in_one(x64):
    built_in = gaussian_spectrum()
    transform = lambda xi: math.sqrt(2 * math.pi) * jnp.exp(-2 * (math.pi * xi) ** 2) + 0j
    own = transform_spectrum(built_in.function, transform, built_in.sample, 1.0)
    x, w, b = rows(0, norm=0.4), rows(1), jnp.linspace(-1, 1, 6)
    for split in SPLITS:
        ours, truth = (moments(x, w, b, kernel=FourierKernel(s, split)) for s in (own, built_in))
        np.testing.assert_allclose(ours, truth, rtol=1e-12)


def test_complex_transforms_keep_their_phase_within_five_standard_errors(x64):
    """f(z) = exp(-(z - 1)^2 / 2) has the transform of the Gaussian times e^(-2 pi i xi)."""
    centred = gaussian_spectrum()
    transform = lambda xi: jnp.exp(centred.log_density(xi) - 2j * math.pi * xi)
    spectrum = transform_spectrum(lambda z: jnp.exp(-((z - 1) ** 2) / 2), transform, centred.sample, 1.0)
    x, w, b = rows(0), rows(1), jnp.linspace(-1, 1, 6)
    mean, variance = moments(x, w, b, kernel=FourierKernel(spectrum))
    values = products(FourierKernel(spectrum), jax.random.key(0), x, w, b, 20_000)
    assert jnp.all(jnp.abs(values.mean(1) - mean) < 5 * jnp.sqrt(variance / 20_000))


def test_relu_kernel_at_special_angles(x64):
    e, f = 3 * jnp.eye(2)
    for x, w, truth in [(e, 2 * e, 9.0), (e, -e, 0.0), (e, 2 * f, 18 / (2 * math.pi))]:
        np.testing.assert_allclose(moments(x, w, kernel=ReluKernel())[0], truth, atol=1e-14)
    assert moments(0 * e, e, kernel=ReluKernel())[0] == 0


def test_relu_features_are_positively_homogeneous_and_take_a_threshold(x64):
    constants = draw(jax.random.key(0), D, 16, kernel=ReluKernel(), bias=False, dtype=jnp.float64)
    features = phi(constants, rows(0), kernel=ReluKernel())
    np.testing.assert_allclose(phi(constants, 3 * rows(0), kernel=ReluKernel()), 3 * features, rtol=1e-14)
    weights = psi(constants, 3 * rows(0).T, kernel=ReluKernel())
    np.testing.assert_allclose(weights, 3 * features.T, rtol=1e-14)
    leaky = phi(constants, rows(0), kernel=ReluKernel(threshold=-0.2))
    np.testing.assert_allclose(leaky, np.maximum(rows(0) @ constants.projections.T, -0.2) / 4, rtol=1e-13)


@pytest.mark.parametrize("kernel", [ReluKernel(), PowerSeriesKernel(gelu_series(4))])
def test_a_bias_is_an_input_of_one(kernel, x64):
    x, w, b = rows(0), rows(1), jnp.linspace(0.1, 1, 6)
    constants = draw(jax.random.key(0), D, 8, kernel=kernel, dtype=jnp.float64)
    first, second, *rest = constants
    joined = type(constants)(jnp.concatenate([first, second[..., None]], -1), None, *rest)
    one = jnp.ones((6, 1))
    ours = phi(joined, jnp.concatenate([x, one], 1), kernel=kernel)
    np.testing.assert_allclose(ours, phi(constants, x, kernel=kernel), rtol=1e-12, atol=1e-14)
    ours = psi(joined, jnp.concatenate([w, b[:, None]], 1).T, kernel=kernel)
    np.testing.assert_allclose(ours, psi(constants, w.T, b, kernel=kernel), rtol=1e-12, atol=1e-14)


def test_series_are_those_of_the_functions(x64):
    z = jnp.linspace(-0.5, 0.5, 21)
    value = lambda series: sum(a * z**k for k, a in enumerate(series))
    np.testing.assert_allclose(value(gelu_series(14)), z * (1 + erf(z / math.sqrt(2))) / 2, atol=1e-9)
    np.testing.assert_allclose(value(tanh_series(21)), jnp.tanh(z), atol=1e-9)
    np.testing.assert_allclose(value(exp_series(12)), jnp.exp(z), atol=1e-12)
    assert gelu_series(2)[1] == 0.5


def test_the_kernel_matrix_has_rank_at_most_m(x64):
    x, w = rows(0, 20), rows(1, 20)
    kernels = (ReluKernel(), PowerSeriesKernel(linear_series()), FourierKernel(cosine_spectrum(), "weight"))
    for kernel in kernels:
        constants = draw(jax.random.key(0), D, 3, kernel=kernel, bias=False, dtype=jnp.float64)
        gram = phi(constants, x, kernel=kernel) @ psi(constants, w.T, kernel=kernel)
        assert np.linalg.matrix_rank(gram, tol=1e-10) <= 3


def test_long_inputs_of_any_rank_are_rows(x64):
    """Half the squared length, whatever the rank of x."""
    kernel = FourierKernel(gaussian_spectrum(), "weight", 0.02)
    x = rows(0, 12, norm=1.5)
    constants = draw(jax.random.key(0), D, 8, kernel=kernel, dtype=jnp.float64)
    flat = phi(constants, x, kernel=kernel)
    cube = phi(constants, x.reshape(2, 3, 2, D), kernel=kernel)
    np.testing.assert_allclose(cube.reshape(12, -1), flat, rtol=1e-14)
    np.testing.assert_allclose(phi(constants, x[0], kernel=kernel), flat[0], rtol=1e-14)


def test_damped_features_in_many_dimensions_stay_finite_in_single_precision():
    """(1 + 4 M)^(d / 4) alone is 1e52 here."""
    d, kernel = 1024, FourierKernel(cosine_spectrum(), "weight", 0.15)
    x = jax.random.normal(jax.random.key(0), (3, d)) / math.sqrt(d)
    constants = draw(jax.random.key(1), d, 16, kernel=kernel)
    ours = phi(constants, x, kernel=kernel)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(jnp.float64), (constants, x))
        truth = phi(*wide, kernel=kernel)
    np.testing.assert_allclose(ours, truth, rtol=2e-3)


def test_projections_are_gaussian_and_keys_alone_decide(x64):
    drawn = lambda seed: draw(jax.random.key(seed), 8, 4096, kernel=FourierKernel(sine_spectrum())).projections
    g = np.asarray(drawn(0))
    assert abs((g**4).mean() - 3) < 0.3  # 1.8 for uniform entries of unit variance
    np.testing.assert_array_equal(drawn(0), g)
    assert np.abs(drawn(1) - g).min() > 0


def test_orthogonal_projections_are_orthogonal_in_blocks():
    g = np.asarray(draw(jax.random.key(0), D, 10, kernel=ReluKernel(), bias=False, law="orthogonal")[0])
    for block in (g[:4], g[4:8], g[8:]):
        gram = block @ block.T
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5)


def test_rescaled_rows_have_the_norm_and_a_finite_gradient_at_zero():
    x = jnp.stack([jnp.zeros(3), jnp.ones(3)])
    np.testing.assert_allclose(jnp.linalg.norm(rescale_rows(x, 2.0), axis=1), [0, 2], rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: rescale_rows(x, 2.0).sum())(x)).all()


COS = FourierKernel(cosine_spectrum())
WIDE = FourierKernel(gaussian_spectrum(), "input")
BAD = [
    (lambda: FourierKernel(cosine_spectrum(), "both"), "split must be one of"),
    (lambda: FourierKernel(cosine_spectrum(), damping=-0.1), "damping must be nonnegative"),
    (lambda: FourierKernel(cosine_spectrum(), damping=float("nan")), "damping must be nonnegative"),
    (lambda: FourierKernel(cosine_spectrum(), scale=0.0), "scale must be positive"),
    (lambda: LineSpectrum(()), "lines must be"),
    (lambda: LineSpectrum(((0.1, 0.0),)), "lines must be"),
    (lambda: DensitySpectrum(jnp.cos, jax.random.normal, jnp.cos, mass=0.0), "mass must be positive"),
    (lambda: tanh_spectrum(half_period=-1.0), "half_period must be positive"),
    (lambda: tanh_spectrum(num_harmonics=0), "num_harmonics must be"),
    (lambda: ReluKernel(float("inf")), "threshold must be finite"),
    (lambda: ReluKernel(bias_input=0.0), "bias_input must be positive"),
    (lambda: PowerSeriesKernel((0.0, 0.0)), "coefficients must be"),
    (lambda: PowerSeriesKernel((0.0, float("nan"))), "coefficients must be"),
    (lambda: PowerSeriesKernel((0.0, 1.0), base=1.0), "base must be above 1"),
    (lambda: gelu_series(1), "degree must be"),
    (lambda: tanh_series(0), "degree must be"),
    (lambda: optimal_damping(jnp.array(-1.0), 3), "s must be nonnegative"),
    (lambda: optimal_damping(jnp.array(1.0), 0), "dim must be at least 1"),
    (lambda: exponential_moments(1, 1, jnp.ones(2), jnp.ones(2), damping=-1.0), "damping must be nonnegative"),
    (lambda: snnk_constants(jax.random.key(0), 0, 4, kernel=COS), "dim must be"),
    (lambda: snnk_constants(jax.random.key(0), 3, 0, kernel=COS), "num_features must be"),
    (lambda: snnk_constants(jax.random.key(0), 3, 4, kernel=COS, law="uniform"), "law must be one of"),
    (lambda: snnk_constants(jax.random.key(0), 3, 6, kernel=FourierKernel(tanh_spectrum())), "a multiple of the spec"),
    (lambda: snnk_constants(jax.random.key(0), 3, 4, kernel=OTHERS[2].values[0], law="orthogonal"), "law must be"),
    (lambda: snnk_init(jax.random.key(0), jnp.ones(3), num_features=4, kernel=COS), "weight must be"),
    (lambda: snnk_init(jax.random.key(0), jnp.ones((3, 2)), jnp.ones(3), num_features=4, kernel=COS), "bias must be"),
    (lambda: snnk_init(jax.random.key(0), jnp.full((3, 2), 9.0), num_features=4, kernel=COS), "weight must be vectors"),
    (lambda: snnk_features(snnk_constants(jax.random.key(0), 3, 4, kernel=COS), jnp.ones(2), kernel=COS), "x must be"),
    (
        lambda: snnk_features(snnk_constants(jax.random.key(0), 3, 4, kernel=COS), jnp.full(3, 9.0), kernel=COS),
        r"x must be vectors of norm at most 13.3 .* got norm 15.6",
    ),
    (lambda: snnk_moments(jnp.ones(2), jnp.ones(3), kernel=COS), "w must be"),
    (lambda: snnk_moments(jnp.ones(2), jnp.ones(2), jnp.ones(2), kernel=COS), "b must be"),
    (lambda: snnk_moments(jnp.ones(2), jnp.ones(2), kernel=WIDE), "second moment is finite, got an infinite variance"),
    (lambda: snnk_moments(jnp.ones(2), jnp.ones(2), kernel=ReluKernel(-1.0)), "threshold must be 0"),
    (lambda: rescale_rows(jnp.ones((2, 2)), 0.0), "norm must be positive"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match="x must have a floating dtype"):
        snnk_features(snnk_constants(jax.random.key(0), 3, 4, kernel=COS), jnp.ones((1, 3), int), kernel=COS)
