"""Critical points, recursions, learning rates and depth, against closed forms and stored values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlib_methods import infinite_width as iw, nn

pytestmark = pytest.mark.usefixtures("x64")

TANH = iw.LayerScales(0.0, 1.0, 0.5, 1.0)
GENERAL = iw.LayerScales(0.1, 1.5, 0.7, 0.9)
single = jax.jit(iw.single_input_recursion, static_argnames=("activation", "depth"))
posterior_of = jax.jit(iw.finite_width_posterior)
relu = functools.partial(iw.single_input_recursion, activation="relu")
several = jax.jit(iw.multi_input_recursion, static_argnames=("activation", "depth", "degree"))
residual = jax.jit(iw.residual_recursion, static_argnames=("activation", "depth"))
PAIR = np.array([[1.2, 0.5], [0.5, 0.9]])
FIELDS = "kernel vertex kernel_shift ntk ntk_shift ntk_kernel ntk_outputs ntk_variance ntk_off_diagonal dntk_p dntk_q"
TABLE = {
    2: (0.3942945, 0.09752374, 0, 1.590899, 0, -0.06456709, 0.1125764, 0.05648017, 0.7683957, -0.2152923, -0.1027159),
    4: (
        *(0.1666564, 0.0501466, -0.05268247, 1.937798, -0.04805828, -0.1058767),
        *(0.1692477, 0.2738901, 2.654282, -0.7602275, -0.3397966),
    ),
    8: (
        *(0.0744802, 0.02364441, -0.09617699, 2.806279, -0.06464112, -0.1824847),
        *(0.2615447, 1.905576, 11.4487, -2.833878, -1.618676),
    ),
}


@pytest.mark.parametrize(
    ("name", "bias", "weight", "kernel", "nu"),
    [
        ("relu", 0, 2, np.nan, 5),
        ("linear", 0, 1, np.nan, 2),
        ("leaky_relu", 0, 1.9801980, np.nan, 3 * (1 + 1e-4) / 2 / (1.01 / 2) ** 2 - 1),
        ("tanh", 0, 1, 0, 2 / 3),
        ("sin", 0, 1, 0, 2 / 3),
        ("gelu", 0.17292239, 1.98305826, (3 + 17**0.5) / 2, 4.904),
        ("swish", 0.55514317, 1.98800468, 14.3201736, 4.923),
        ("mish", 0.0945218, 2.0135241, 1.6701691, 4.7707),
    ],
)
def test_critical_points_have_the_stored_values(name, bias, weight, kernel, nu):
    point = iw.critical_point(name)
    np.testing.assert_allclose(point[1:4], (bias, weight, kernel), atol=1e-6)
    np.testing.assert_allclose(point.nu, nu, atol=5e-4)
    if point.universality == "half-stable":
        both = iw.susceptibilities(jnp.array(point.kernel), point.weight_variance, activation=name)
        np.testing.assert_allclose(both[:2], 1, atol=1e-9)


@pytest.mark.parametrize(("name", "ours"), [("elu", 2 * np.pi), ("selu", 2 * np.pi * 1.0 / 0.3774)])
def test_a_kinked_zero_point_decays_as_the_square_of_depth(name, ours):
    point, deep = iw.critical_point(name), 4096
    scales = iw.LayerScales(point.bias_variance, point.weight_variance)
    path = single(scales, jnp.array(0.05), activation=name, depth=deep)
    rate = np.log(path.kernel[-1] / path.kernel[deep // 2]) / np.log(2)
    np.testing.assert_allclose(rate, -2, atol=0.02)
    growth = path.vertex / path.kernel**2
    np.testing.assert_allclose((growth[-1] - growth[deep // 2]) / (deep / 2), point.nu, rtol=0.02)
    pair = iw.nearby_inputs(scales, jnp.array(0.05), 0.01, 0.01, activation=name, depth=deep)
    np.testing.assert_allclose(np.log2(pair.difference[-1] / pair.difference[deep // 2]), -point.p_parallel, atol=0.03)


@pytest.mark.parametrize("layer", TABLE)
def test_one_input_has_the_stored_tensors(layer):
    path = single(TANH, jnp.ones(()), activation="tanh", depth=8)
    ours = [getattr(path, field)[layer - 1] for field in FIELDS.split()]
    np.testing.assert_allclose(ours, TABLE[layer], rtol=1e-6, atol=1e-12)


def test_general_hyperparameters_have_the_stored_tensors():
    path = single(GENERAL, jnp.array(1.2), activation="tanh", depth=8)
    names = ("vertex", "ntk_variance", "ntk_kernel", "ntk_outputs", "ntk_off_diagonal", "dntk_p", "dntk_q")
    ours = [getattr(path, name)[3] for name in (*names, "kernel_shift", "ntk_shift")]
    np.testing.assert_allclose(ours, (0.2064, 2.554, -0.643, 0.525, 8.990, -3.494, -1.702, -0.0795, 0.0779), atol=6e-4)


@pytest.mark.parametrize(("name", "weight", "nu"), [("linear", 1, 2), ("relu", 2, 5)])
def test_scale_invariant_networks_keep_the_kernel_and_spread_linearly(name, weight, nu):
    path = single(iw.LayerScales(0.0, weight, 0.5, 1.0), jnp.array(1.3), activation=name, depth=8)
    l = np.arange(1, 9)
    np.testing.assert_allclose(path.kernel, 1.3, rtol=1e-13)
    np.testing.assert_allclose(path.vertex, nu * (l - 1) * 1.3**2, rtol=1e-12)
    np.testing.assert_allclose(path.kernel_shift, 0, atol=1e-11)
    np.testing.assert_allclose(path.ntk, l * (0.5 + 1.3 / weight), rtol=1e-12)


def test_each_layer_adds_in_inverse_of_its_width():
    widths = jnp.array([2.0, 0.5, 4.0])
    path = single(iw.LayerScales(0.0, 2.0), jnp.array(1.3), widths, activation="relu", depth=4)
    np.testing.assert_allclose(path.vertex[1:], 5 * 1.3**2 * np.cumsum(1 / widths), rtol=1e-12)
    one, half = (single(GENERAL, jnp.array(1.2), a, activation="tanh", depth=8) for a in (1.0, jnp.full(7, 2.0)))
    for field in FIELDS.split():
        order = 1 if field in ("kernel", "ntk") else 2
        np.testing.assert_allclose(order * getattr(half, field), getattr(one, field), rtol=1e-12, atol=1e-14)
    unequal = jnp.array([2.0, 0.5, 4.0])
    one = single(GENERAL, jnp.array(1.2), unequal, activation="tanh", depth=4)
    same = several(GENERAL, jnp.full((2, 2), 1.2), None, unequal, activation="tanh", depth=4)
    for field in iw.MultiInputTheory._fields:
        ours = np.asarray(getattr(same, field)).reshape(4, -1)
        np.testing.assert_allclose(ours, np.broadcast_to(getattr(one, field)[:, None], ours.shape), rtol=1e-6)


def test_tanh_falls_as_one_over_depth_and_its_vertex_grows():
    path = single(TANH, jnp.ones(()), activation="tanh", depth=4000)
    l = np.array([20, 50, 100, 200])
    ratio = path.vertex[l - 1] / path.kernel[l - 1] ** 2 / l
    np.testing.assert_allclose(ratio, (0.598, 0.634, 0.648, 0.656), atol=6e-4)
    l = np.array([1000, 4000])
    np.testing.assert_allclose(1 / path.kernel[l - 1] - 2 * l + 5 / 6 * np.log(l), -0.889, atol=0.01)


@pytest.mark.parametrize("name", ["tanh", "gelu", "swish", "relu", "selu"])
def test_three_forms_of_the_parallel_susceptibility_agree(name):
    forms = jax.jit(
        lambda k: [
            iw.susceptibilities(k, 1.3, activation=name, form=f).parallel for f in ("slope", "variance", "derivative")
        ]
    )
    for kernel in (0.01, 1.0, 15.0):
        one, two, three = forms(jnp.array(kernel))
        np.testing.assert_allclose([two, three], one, rtol=1e-10)


def test_a_rescaled_activation_with_rescaled_weights_is_the_same():
    twice = iw.activation_function(lambda z: 2 * jnp.tanh(z))
    ours = single(iw.LayerScales(0.1, 1.5 / 4), jnp.array(1.2), activation=twice, depth=8)
    plain = single(iw.LayerScales(0.1, 1.5), jnp.array(1.2), activation="tanh", depth=8)
    for field in ("kernel", "vertex", "kernel_shift"):
        np.testing.assert_allclose(getattr(ours, field), getattr(plain, field), rtol=1e-11, atol=1e-13)


def test_two_inputs_have_the_stored_values_and_semidefinite_covariances():
    pair = several(GENERAL, PAIR, activation="tanh", depth=4)
    upper = np.triu_indices(2)
    np.testing.assert_allclose(pair.kernel[-1][upper], (0.560527, 0.361299, 0.548016), atol=1e-6)
    vertex = [[0.206382, 0.138103, 0.057447], [0.138103, 0.354737, 0.138432], [0.057447, 0.138432, 0.202136]]
    np.testing.assert_allclose(iw.pair_matrix(pair.vertex[-1]), vertex, atol=1e-6)
    np.testing.assert_allclose(pair.kernel_shift[-1][upper], (-0.079542, -0.020189, -0.082578), atol=1e-6)
    for tensor in (pair.vertex, pair.ntk_variance):
        assert np.linalg.eigvalsh(iw.pair_matrix(tensor[-1])).min() > 0
    assert (np.einsum("aaaa->a", pair.ntk_off_diagonal[-1]) > 0).all()
    posterior = posterior_of(pair.kernel[-1], pair.vertex[-1], pair.kernel_shift[-1], jnp.array([[1.3]]))
    np.testing.assert_allclose(posterior.mean, 0.837941, atol=1e-6)
    np.testing.assert_allclose(posterior.mean_correction, 0.07224, atol=1e-5)


def test_coinciding_inputs_are_one_and_exchanged_inputs_are_exchanged():
    one = single(GENERAL, jnp.array(1.2), activation="tanh", depth=8)
    same = several(GENERAL, jnp.full((2, 2), 1.2), activation="tanh", depth=4)
    for field in iw.MultiInputTheory._fields:
        ours = np.asarray(getattr(same, field)).reshape(4, -1)
        np.testing.assert_allclose(ours, np.broadcast_to(getattr(one, field)[:4, None], ours.shape), rtol=1e-6)
    pair, other = (several(GENERAL, k, activation="tanh", depth=4) for k in (PAIR, PAIR[::-1, ::-1]))
    for ours, theirs in zip(pair, other, strict=True):
        np.testing.assert_allclose(theirs, np.flip(ours, tuple(range(1, ours.ndim))), rtol=1e-6, atol=1e-8)


def test_random_nodes_agree_with_the_rule_within_four_standard_errors():
    """Standard deviations over sixteen keys, mean over the same."""
    keys = jax.random.split(jax.random.key(3), 16)
    draw = lambda key: iw.multi_input_recursion(
        GENERAL, jnp.asarray(PAIR), key, activation="tanh", depth=3, samples=4096
    )
    random = jax.jit(jax.vmap(lambda key: [draw(key).kernel[-1], draw(key).vertex[-1]]))(keys)
    exact = several(GENERAL, PAIR, activation="tanh", depth=4)
    for values, truth in zip(random, (exact.kernel[2], exact.vertex[2]), strict=True):
        assert (np.abs(values.mean(0) - truth) < 4 * values.std(0, ddof=1) / 4 + 2e-4).all()


def test_the_posterior_of_a_linear_net_matches_importance_sampling():
    """Depth 2, one metric G = x-Gram times a Wishart mean; 400,000 draws, four standard errors of the difference."""
    n, gram = 200, jnp.array([[1.0, 0.4], [0.4, 0.8]])
    theory = several(iw.LayerScales(0.0, 1.0), gram, activation="linear", depth=2)
    y = jnp.array([[1.3]])
    ours = posterior_of(theory.kernel[-1], theory.vertex[-1], theory.kernel_shift[-1], y)
    rng = np.random.default_rng(0)
    root, draws = np.linalg.cholesky(gram), 400_000
    # Bartlett: n W = A A^T
    a, b, c = np.sqrt(rng.chisquare(n, draws)), rng.normal(size=draws), np.sqrt(rng.chisquare(n - 1, draws))
    lower = np.stack([np.stack([a, 0 * a], -1), np.stack([b, c], -1)], -2) / n**0.5
    metric = root @ lower @ lower.swapaxes(1, 2) @ root.T
    density = np.exp(-(1.3**2) / 2 / metric[:, 0, 0]) / np.sqrt(metric[:, 0, 0])
    weight = density / density.mean()
    m = metric[:, 1, 0] / metric[:, 0, 0] * 1.3
    value = (weight * m).mean()
    error = (weight * (m - value)).std() / draws**0.5
    assert abs(value - float(ours.mean[0, 0] + ours.mean_correction[0, 0] / n)) < 4 * error + 5 / n**2
    np.testing.assert_allclose(
        np.log(density.mean()) - np.log(2 * np.pi) / 2,
        ours.log_evidence + ours.log_evidence_correction / n,
        atol=4 * density.std() / density.mean() / draws**0.5 + 5 / n**2,
    )


def test_residual_recursions_have_their_limits():
    plain = single(iw.LayerScales(0.0, 2.0, 0.5, 1.0), jnp.array(1.2), activation="relu", depth=8)
    none = residual(iw.LayerScales(0.0, 2.0, 0.5, 1.0), jnp.array(1.2), 0.0, activation="relu", depth=8)
    for field in ("kernel", "ntk", "vertex", "kernel_shift"):
        np.testing.assert_allclose(getattr(none, field), getattr(plain, field), rtol=1e-11, atol=1e-11)
    nearly = residual(iw.LayerScales(0.0, 1e-300), jnp.array(1.2), 1.0, activation="relu", depth=8)
    np.testing.assert_allclose(nearly.kernel, 1.2)
    np.testing.assert_allclose([nearly.vertex, nearly.three_point, nearly.kernel_shift], 0, atol=1e-100)
    path = residual(iw.LayerScales(0.0, 0.72), jnp.array(1.0), 0.8, activation="relu", depth=300)
    np.testing.assert_allclose(path.vertex[5], 12.3, atol=0.3)  # extrapolated from ensembles of widths 16 and 48
    np.testing.assert_allclose(np.diff(path.vertex)[-1], iw.residual_growth("relu", 0.8), rtol=1e-9)
    odd = residual(iw.LayerScales(0.0, 1 - 0.9**2), jnp.array(1.0), 0.9, activation="tanh", depth=3000)
    growth = np.diff(odd.vertex / odd.kernel**2)[-1]
    np.testing.assert_allclose(growth, iw.residual_growth("tanh", 0.9), rtol=0.01)


@pytest.mark.parametrize("g", [0.0, 0.5, 0.9])
def test_residual_relu_networks_grow_by_the_covariance_of_a_neuron_with_its_past(g):
    """Arc-cosine kernels of degree 2: <relu(x)^2 relu(y)^2> of correlations g^k over all distances k in depth."""
    correlation = g ** np.arange(400)
    angle = np.arccos(correlation)
    both = 3 * np.sin(angle) * correlation + (np.pi - angle) * (1 + 2 * correlation**2)
    covariance = both / (2 * np.pi) - 1 / 4
    nu = 4 * (1 - g**2) ** 2 * (covariance[0] + 2 * covariance[1:].sum())
    np.testing.assert_allclose(iw.residual_growth("relu", g), nu, rtol=1e-4)


@pytest.mark.parametrize("name", ["gelu", "swish", "mish"])
def test_half_stable_residual_networks_are_critical_and_grow_by_nu(name):
    point, g, deep = iw.critical_point(name), 0.9, 200
    scales = iw.LayerScales((1 - g**2) * point.bias_variance, (1 - g**2) * point.weight_variance, 1.0, 0.0)
    start = jnp.array(point.kernel)
    path = residual(scales, start, g, activation=name, depth=deep)
    np.testing.assert_allclose(path.kernel, point.kernel, rtol=1e-8)
    np.testing.assert_allclose(path.ntk, np.arange(1, deep + 1), rtol=1e-8)  # prod of perpendicular susceptibilities
    along = jax.grad(lambda k: residual(scales, k, g, activation=name, depth=deep).kernel[-1])(start)
    np.testing.assert_allclose(along, 1, rtol=1e-7)
    growth = np.diff(path.vertex)[-1] / point.kernel**2
    np.testing.assert_allclose(growth, iw.residual_growth(name, g), rtol=1e-7)
    np.testing.assert_allclose(iw.residual_growth(name, 0.0), point.nu, rtol=1e-12)


def test_a_lopsided_kinked_zero_point_grows_by_nu():
    point, g, deep = iw.critical_point("selu"), 0.6, 4096
    scales = iw.LayerScales(0.0, (1 - g**2) * point.weight_variance)
    path = residual(scales, jnp.array(0.05), g, activation="selu", depth=deep)
    growth = path.vertex / path.kernel**2
    ours = (growth[-1] - growth[deep // 2]) / (deep / 2)
    np.testing.assert_allclose(ours, iw.residual_growth("selu", g), rtol=0.02)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_the_chosen_skip_weight_gives_the_best_ratio(name):
    g = iw.residual_weight_for_depth(name, depth=1000, width=256)
    assert 0.9 < g < 1
    np.testing.assert_allclose(iw.residual_growth(name, g) * 1000 / 256, 4 / 23, rtol=1e-6)
    assert iw.residual_weight_for_depth(name, depth=1, width=256) == 0


def test_equivalent_rates_give_every_layer_the_same_share():
    depth, k = 12, jnp.ones(())
    for name, variances in (("tanh", (0.0, 1.0)), ("relu", (0.0, 2.0)), ("gelu", (0.2, 1.7))):
        rates = iw.equivalent_layer_rates(iw.LayerScales(*variances), k, 0.5, 2.0, activation=name, depth=depth)
        scales = iw.LayerScales(*variances, rates.bias, rates.weight)
        shares = iw.layer_contributions(scales, k, activation=name, depth=depth)
        np.testing.assert_allclose(shares, shares[0], rtol=1e-12)
        path = single(scales, k, activation=name, depth=depth)
        np.testing.assert_allclose(shares.sum(), path.ntk[-1], rtol=1e-12)
    deep = 400
    point = iw.critical_point("tanh")
    rates = iw.asymptotic_layer_rates(point, depth=deep, dtype="float64")
    exact = iw.equivalent_layer_rates(iw.LayerScales(0.0, 1.0), k, activation="tanh", depth=deep)
    ratio = (rates.bias / exact.bias)[50:]
    assert ratio.max() / ratio.min() < 1.1


def test_a_scaled_step_moves_outputs_by_the_kernel():
    """To first order a step of descent on a z moves z by -eta times the NTK with the rates."""
    params = iw.ensemble_init(jax.random.key(0), GENERAL, inputs=2, width=6, depth=3, outputs=1, dtype="float64")
    x = jnp.array([[0.3, -0.8]])
    apply = lambda p: nn.mlp_apply(p, x, activation=jnp.tanh)[0]
    rates = iw.layer_rate_tree(params, iw.LayerRates(jnp.full(3, 0.7), jnp.full(3, 0.9)))
    eta = 1e-6
    optimizer = optax.chain(iw.scale_by_layer_rates(rates), optax.sgd(eta))
    gradient = jax.grad(lambda p: apply(p)[0])(params)
    updates, _ = optimizer.update(gradient, optimizer.init(params))
    moved = apply(optax.apply_updates(params, updates)) - apply(params)
    ntk = sum(jnp.sum(g**2 * r) for g, r in zip(jax.tree.leaves(gradient), jax.tree.leaves(rates), strict=True))
    np.testing.assert_allclose(moved / -eta, ntk, rtol=1e-4)
    one = jnp.ones(1)
    change = lambda p: sum(
        jnp.sum(g**2 * r)
        for g, r in zip(jax.tree.leaves(jax.grad(lambda p: apply(p)[0])(p)), jax.tree.leaves(rates), strict=True)
    )
    slope = (change(optax.apply_updates(params, updates)) - change(params)) / -eta
    np.testing.assert_allclose(slope, 2 * iw.dntk_contraction(apply, params, rates, one, one, one), rtol=1e-4)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_mutual_information_is_that_of_gaussian_mixtures(m):
    """Radial integrals of z ~ N(0, G), G lognormal of mean 1: I = 2 S(m) - S(2 m), for groups of m and m."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def entropy(dim, s, radial):
        g = np.exp(s * nodes - s**2 / 2)
        r, w = radial
        log_p = -(r[:, None] ** 2) / 2 / g - dim / 2 * np.log(2 * np.pi * g) + np.log(weights)
        top = log_p.max(1, keepdims=True)
        log_p = (top + np.log(np.exp(log_p - top).sum(1, keepdims=True)))[:, 0]
        sphere = np.log(2) + dim / 2 * np.log(np.pi) - float(jax.scipy.special.gammaln(dim / 2))
        return -np.sum(w * np.exp(log_p + sphere + (dim - 1) * np.log(r)) * log_p)

    x, w = np.polynomial.legendre.leggauss(400)
    radial = ((x + 1) * 10, w * 10)
    v = np.array([0.002, 0.004, 0.008])
    found = [2 * entropy(m, s, radial) - entropy(2 * m, s, radial) for s in np.sqrt(np.log1p(v))]
    scaled = np.array(found) / (m**2 / 8 * v**2)
    slope = (scaled - 1) / v
    once = 2 * slope[:-1] - slope[1:]
    np.testing.assert_allclose((4 * once[0] - once[1]) / 3, -(20 + 6 * m) / 6, atol=0.01)
    np.testing.assert_allclose(iw.mutual_information(jnp.asarray(v[0]), 2 * m), found[0], rtol=1e-3)


def test_best_ratios_have_the_stored_values():
    ours = [iw.optimal_aspect_ratio(nu, outputs) for nu in (5, 2 / 3) for outputs in (1, 10)]
    np.testing.assert_allclose(ours, (0.0348, 0.016, 0.261, 0.12), atol=5e-5 + 5e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iw.critical_point("tahn"), "activation must be one of"),
        (lambda: iw.critical_point("sigmoid"), r"sigma\(0\) is not 0; and the ratio .* below 1"),
        (lambda: iw.critical_point("softplus"), "stays above 1"),
        (lambda: iw.critical_point("perceptron"), "<sigma'\\^2> is 0"),
        (lambda: iw.critical_point(lambda z: z**2), r"sigma'\(0\) is 0"),
        (lambda: iw.critical_point(jnp.zeros_like), "is constant"),
        (lambda: iw.activation_function(3), "a name or a function"),
        (
            lambda: relu(iw.LayerScales(0.0, 0.0), jnp.ones(()), depth=2),
            "weight",
        ),
        (
            lambda: relu(iw.LayerScales(-1.0, 1.0), jnp.ones(()), depth=2),
            "bias",
        ),
        (lambda: relu(TANH, jnp.zeros(()), depth=2), "kernel must be positive"),
        (lambda: relu(TANH, jnp.ones(()), depth=0), "depth"),
        (lambda: relu(TANH, jnp.ones(2), depth=2), "kernel"),
        (lambda: relu(TANH, jnp.ones(()), jnp.ones(2), depth=2), r"widths must be a number or of shape \(1,\)"),
        (lambda: relu(TANH, jnp.ones(()), -1.0, depth=2), "widths must be positive"),
        (lambda: iw.multi_input_recursion(TANH, PAIR, activation="perceptron", depth=2), "continuous"),
        (lambda: iw.multi_input_recursion(TANH, jnp.eye(5), activation="tanh", depth=2), "key"),
        (lambda: iw.multi_input_recursion(TANH, jnp.eye(5), activation="elu", depth=2), "key"),
        (lambda: iw.multi_input_recursion(TANH, PAIR, activation="elu", depth=2, degree=1), "degree"),
        (lambda: iw.residual_recursion(TANH, jnp.ones(()), 1.5, activation="relu", depth=2), "skip"),
        (lambda: iw.asymptotic_layer_rates(iw.critical_point("gelu"), depth=3), "half-stable"),
        (lambda: iw.mutual_information(jnp.array(-0.1), 1), "variance"),
        (lambda: iw.optimal_aspect_ratio(5.0, 0), "outputs"),
        (lambda: iw.susceptibilities(jnp.ones(()), 1.0, activation="relu", form="x"), "form"),
        (lambda: iw.finite_width_posterior(PAIR, jnp.zeros((2,) * 4), PAIR, jnp.ones((3, 1))), "targets"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
