"""Networks of infinite width: their kernels in closed form, what training makes of them, and how they learn."""

from jaxlib_methods.infinite_width.abc.classification import AbcReport, abc_classify
from jaxlib_methods.infinite_width.abc.network import AbcNetwork, AbcTaps, abc_mlp, abc_sgd, abc_shardings
from jaxlib_methods.infinite_width.abc.parametrizations import AbcParametrization, abc_parametrization, abc_shift
from jaxlib_methods.infinite_width.affine import Affine, conv, dense, local_conv
from jaxlib_methods.infinite_width.automatic_taps import automatic_taps
from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.aspect_ratio import mutual_information, optimal_aspect_ratio
from jaxlib_methods.infinite_width.criticality.bayes import FiniteWidthPosterior, finite_width_posterior
from jaxlib_methods.infinite_width.criticality.critical_point import CriticalPoint, critical_point
from jaxlib_methods.infinite_width.criticality.dntk import dntk_contraction
from jaxlib_methods.infinite_width.criticality.ensemble import EnsembleEstimate, ensemble_check, ensemble_init
from jaxlib_methods.infinite_width.criticality.layer_rates import (
    LayerRates,
    asymptotic_layer_rates,
    equivalent_layer_rates,
    layer_contributions,
    layer_rate_tree,
    scale_by_layer_rates,
)
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales
from jaxlib_methods.infinite_width.criticality.minimal_model import (
    MinimalModelFit,
    minimal_model_apply,
    minimal_model_fit,
)
from jaxlib_methods.infinite_width.criticality.multi_input import MultiInputTheory, multi_input_recursion, pair_matrix
from jaxlib_methods.infinite_width.criticality.residual import (
    ResidualTheory,
    residual_growth,
    residual_recursion,
    residual_weight_for_depth,
)
from jaxlib_methods.infinite_width.criticality.single_input import SingleInputTheory, single_input_recursion
from jaxlib_methods.infinite_width.criticality.susceptibilities import (
    NearbyInputs,
    Susceptibilities,
    gaussian_expectation,
    nearby_inputs,
    susceptibilities,
)
from jaxlib_methods.infinite_width.dual import DualActivation
from jaxlib_methods.infinite_width.dual_activations import dual_activation
from jaxlib_methods.infinite_width.empirical_ntk import empirical_ntk, ntk_costs, ntk_product
from jaxlib_methods.infinite_width.function_flow import FunctionValues, function_flow
from jaxlib_methods.infinite_width.hermite_duals import hermite_dual, polynomial_dual, quadrature_dual
from jaxlib_methods.infinite_width.hierarchical import (
    HierarchicalExponents,
    hierarchical_exponents,
    hierarchical_kernel,
    multisphere,
    patch_cosines,
)
from jaxlib_methods.infinite_width.hierarchical_spectrum import (
    HierarchicalSpectrum,
    harmonic_multiplicity,
    hierarchical_spectrum,
)
from jaxlib_methods.infinite_width.kernel_state import Side
from jaxlib_methods.infinite_width.layer import Layer, identity, parallel, residual, serial
from jaxlib_methods.infinite_width.limits.deep_linear import (
    DeepLinearLimit,
    LimitMatrix,
    deep_linear_limit_apply,
    deep_linear_limit_init,
    deep_linear_limit_sample,
    deep_linear_limit_step,
    deep_linear_limit_train,
)
from jaxlib_methods.infinite_width.limits.linear import (
    LinearNet,
    linear_limit_init,
    linear_limit_sample,
    linear_net_apply,
    linear_net_init,
)
from jaxlib_methods.infinite_width.limits.particle import (
    ParticleLimit,
    ParticleMatrix,
    particle_limit_apply,
    particle_limit_init,
    particle_limit_step,
    particle_limit_train,
)
from jaxlib_methods.infinite_width.linearized import linearize, taylor_expand
from jaxlib_methods.infinite_width.meta_learning.kernel_maml import (
    KernelMaml,
    kernel_maml_init,
    kernel_maml_predict,
    kernel_maml_step,
    one_hidden_layer_kernel,
)
from jaxlib_methods.infinite_width.meta_learning.linear_maml import linear_maml_predict, linear_maml_step
from jaxlib_methods.infinite_width.meta_learning.maml import MamlState, Tasks, maml_init, maml_predict, maml_step
from jaxlib_methods.infinite_width.mup.coordinate_check import CoordinateReport, Coordinates, coordinate_check
from jaxlib_methods.infinite_width.mup.factors import MupFactor, mup_attention_scale, mup_factors
from jaxlib_methods.infinite_width.mup.optimizers import (
    mup_adam,
    mup_adamw,
    mup_multiply,
    mup_rescale_init,
    mup_sgd,
    scale_by_mup,
)
from jaxlib_methods.infinite_width.network_kernel import KernelPair, network_gram, network_kernel
from jaxlib_methods.infinite_width.no_closed_form import SampledKernel, batch_norm, kernel_from_samples, max_pool
from jaxlib_methods.infinite_width.permutations.binary_inputs import (
    binary_inputs,
    permute_bits,
    random_binary_inputs,
)
from jaxlib_methods.infinite_width.permutations.descent import DescentPlan, descent_plan, permutation_network_train
from jaxlib_methods.infinite_width.permutations.ensemble_size import ensemble_size, members_needed
from jaxlib_methods.infinite_width.permutations.exhaustive import exhaustive_test
from jaxlib_methods.infinite_width.permutations.members import limit_predictions, trained_predictions
from jaxlib_methods.infinite_width.permutations.network import (
    PermutationNetwork,
    permutation_network_apply,
    permutation_network_init,
)
from jaxlib_methods.infinite_width.permutations.prediction import (
    PermutationPrediction,
    permutation_covariance,
    permutation_prediction,
)
from jaxlib_methods.infinite_width.permutations.statistics import (
    PermutationStatistics,
    TrainingEigenvalues,
    permutation_statistics,
    training_eigenvalues,
)
from jaxlib_methods.infinite_width.permutations.streaming import EnsembleMoments, ensemble_moments, members_until
from jaxlib_methods.infinite_width.permutations.vote import VoteProbability, vote, vote_accuracy, vote_probability
from jaxlib_methods.infinite_width.pointwise import activation, dropout, layer_norm
from jaxlib_methods.infinite_width.pooling import avg_pool, flatten, global_avg_pool, global_sum_pool, sum_pool
from jaxlib_methods.infinite_width.position_maps import aggregate, map_positions
from jaxlib_methods.infinite_width.positional_embedding import positional_embedding
from jaxlib_methods.infinite_width.predictions import (
    MseDynamics,
    Posterior,
    gp_posterior,
    max_learning_rate,
    mse_dynamics,
    mse_predict,
    ntk_posterior,
)
from jaxlib_methods.infinite_width.rectified_duals import (
    rectified_monomial_dual,
    rectifier_dual,
    sign_dual,
    step_dual,
)
from jaxlib_methods.infinite_width.resampling import image_resize, select
from jaxlib_methods.infinite_width.self_attention import Attention, self_attention
from jaxlib_methods.infinite_width.smooth_duals import (
    erf_dual,
    exponential_dual,
    gaussian_dual,
    gelu_dual,
    normalized_exponential_dual,
    rbf_dual,
    sine_dual,
    sine_gaussian_dual,
)
from jaxlib_methods.infinite_width.taps import PLAIN, Taps
from jaxlib_methods.infinite_width.transposed import conv_transpose
from jaxlib_methods.infinite_width.word_vectors import (
    WordVectors,
    cbow_init,
    cbow_limit_init,
    cbow_step,
    negative_samples,
    shrunk_windows,
)

__all__ = [
    "PLAIN",
    "AbcNetwork",
    "AbcParametrization",
    "AbcReport",
    "AbcTaps",
    "ActivationFunction",
    "Affine",
    "Attention",
    "CoordinateReport",
    "Coordinates",
    "CriticalPoint",
    "DeepLinearLimit",
    "DescentPlan",
    "DualActivation",
    "EnsembleEstimate",
    "EnsembleMoments",
    "FiniteWidthPosterior",
    "FunctionValues",
    "HierarchicalExponents",
    "HierarchicalSpectrum",
    "KernelMaml",
    "KernelPair",
    "Layer",
    "LayerRates",
    "LayerScales",
    "LimitMatrix",
    "LinearNet",
    "MamlState",
    "MinimalModelFit",
    "MseDynamics",
    "MultiInputTheory",
    "MupFactor",
    "NearbyInputs",
    "ParticleLimit",
    "ParticleMatrix",
    "PermutationNetwork",
    "PermutationPrediction",
    "PermutationStatistics",
    "Posterior",
    "ResidualTheory",
    "SampledKernel",
    "Side",
    "SingleInputTheory",
    "Susceptibilities",
    "Taps",
    "Tasks",
    "TrainingEigenvalues",
    "VoteProbability",
    "WordVectors",
    "abc_classify",
    "abc_mlp",
    "abc_parametrization",
    "abc_sgd",
    "abc_shardings",
    "abc_shift",
    "activation",
    "activation_function",
    "aggregate",
    "asymptotic_layer_rates",
    "automatic_taps",
    "avg_pool",
    "batch_norm",
    "binary_inputs",
    "cbow_init",
    "cbow_limit_init",
    "cbow_step",
    "conv",
    "conv_transpose",
    "coordinate_check",
    "critical_point",
    "deep_linear_limit_apply",
    "deep_linear_limit_init",
    "deep_linear_limit_sample",
    "deep_linear_limit_step",
    "deep_linear_limit_train",
    "dense",
    "descent_plan",
    "dntk_contraction",
    "dropout",
    "dual_activation",
    "empirical_ntk",
    "ensemble_check",
    "ensemble_init",
    "ensemble_moments",
    "ensemble_size",
    "equivalent_layer_rates",
    "erf_dual",
    "exhaustive_test",
    "exponential_dual",
    "finite_width_posterior",
    "flatten",
    "function_flow",
    "gaussian_dual",
    "gaussian_expectation",
    "gelu_dual",
    "global_avg_pool",
    "global_sum_pool",
    "gp_posterior",
    "harmonic_multiplicity",
    "hermite_dual",
    "hierarchical_exponents",
    "hierarchical_kernel",
    "hierarchical_spectrum",
    "identity",
    "image_resize",
    "kernel_from_samples",
    "kernel_maml_init",
    "kernel_maml_predict",
    "kernel_maml_step",
    "layer_contributions",
    "layer_norm",
    "layer_rate_tree",
    "limit_predictions",
    "linear_limit_init",
    "linear_limit_sample",
    "linear_maml_predict",
    "linear_maml_step",
    "linear_net_apply",
    "linear_net_init",
    "linearize",
    "local_conv",
    "maml_init",
    "maml_predict",
    "maml_step",
    "map_positions",
    "max_learning_rate",
    "max_pool",
    "members_needed",
    "members_until",
    "minimal_model_apply",
    "minimal_model_fit",
    "mse_dynamics",
    "mse_predict",
    "multi_input_recursion",
    "multisphere",
    "mup_adam",
    "mup_adamw",
    "mup_attention_scale",
    "mup_factors",
    "mup_multiply",
    "mup_rescale_init",
    "mup_sgd",
    "mutual_information",
    "nearby_inputs",
    "negative_samples",
    "network_gram",
    "network_kernel",
    "normalized_exponential_dual",
    "ntk_costs",
    "ntk_posterior",
    "ntk_product",
    "one_hidden_layer_kernel",
    "optimal_aspect_ratio",
    "pair_matrix",
    "parallel",
    "particle_limit_apply",
    "particle_limit_init",
    "particle_limit_step",
    "particle_limit_train",
    "patch_cosines",
    "permutation_covariance",
    "permutation_network_apply",
    "permutation_network_init",
    "permutation_network_train",
    "permutation_prediction",
    "permutation_statistics",
    "permute_bits",
    "polynomial_dual",
    "positional_embedding",
    "quadrature_dual",
    "random_binary_inputs",
    "rbf_dual",
    "rectified_monomial_dual",
    "rectifier_dual",
    "residual",
    "residual_growth",
    "residual_recursion",
    "residual_weight_for_depth",
    "scale_by_layer_rates",
    "scale_by_mup",
    "select",
    "self_attention",
    "serial",
    "shrunk_windows",
    "sign_dual",
    "sine_dual",
    "sine_gaussian_dual",
    "single_input_recursion",
    "step_dual",
    "sum_pool",
    "susceptibilities",
    "taylor_expand",
    "trained_predictions",
    "training_eigenvalues",
    "vote",
    "vote_accuracy",
    "vote_probability",
]
