"""Attention of higher order, and attention with random features."""

from jaxlib_methods.attention.kronecker.attention import kron_attention, kron_attention_with_lse
from jaxlib_methods.attention.kronecker.layer import KronLayer, KronLayerConfig, kron_layer_apply, kron_layer_init
from jaxlib_methods.attention.kronecker.match3 import match3_features, match3_labels, match3_layer
from jaxlib_methods.attention.kronecker.polynomial import (
    PolyPlan,
    kron_attention_poly,
    kron_logit_bound,
    poly_error_bound,
    poly_plan,
)
from jaxlib_methods.attention.kronecker.rotary import rotate_chunks
from jaxlib_methods.attention.kronecker.semi_linear import (
    elu_features,
    kron_attention_semi_linear,
    positive_random_features,
)
from jaxlib_methods.attention.kronecker.theory_gradient import (
    TensorAttentionGradient,
    tensor_attention_gradient,
    tensor_attention_loss,
)
from jaxlib_methods.attention.kronecker.virtual import kron_virtual_attention, virtual_attention
from jaxlib_methods.attention.random_feature.bounds import head_count_bound, rademacher_bound
from jaxlib_methods.attention.random_feature.complexity import (
    inner_product_kernel,
    rfa_complexity,
    rfmlp_complexity,
    rkhs_norm_sq,
)
from jaxlib_methods.attention.random_feature.fit import project_heads, rfa_fit, rfa_fit_constrained
from jaxlib_methods.attention.random_feature.heads import RandomHeads, rfa_features, rfa_init
from jaxlib_methods.attention.random_feature.kernel import rfa_kernel, rfa_kernel_diagonal
from jaxlib_methods.attention.random_feature.mlp_baseline import rfmlp_features, rfmlp_init, rfmlp_kernel
from jaxlib_methods.attention.random_feature.rectified import (
    bivariate_normal_cdf,
    rectified_product,
    rectified_product_series,
)
from jaxlib_methods.attention.random_feature.streaming import rfa_apply, rfa_gram
from jaxlib_methods.attention.random_feature.targets import (
    key_power,
    query_key_power,
    query_key_product,
    set_polynomial,
)
from jaxlib_methods.attention.random_feature.tokens import attention_tokens, sample_sphere_tokens

__all__ = [
    "KronLayer",
    "KronLayerConfig",
    "PolyPlan",
    "RandomHeads",
    "TensorAttentionGradient",
    "attention_tokens",
    "bivariate_normal_cdf",
    "elu_features",
    "head_count_bound",
    "inner_product_kernel",
    "key_power",
    "kron_attention",
    "kron_attention_poly",
    "kron_attention_semi_linear",
    "kron_attention_with_lse",
    "kron_layer_apply",
    "kron_layer_init",
    "kron_logit_bound",
    "kron_virtual_attention",
    "match3_features",
    "match3_labels",
    "match3_layer",
    "poly_error_bound",
    "poly_plan",
    "positive_random_features",
    "project_heads",
    "query_key_power",
    "query_key_product",
    "rademacher_bound",
    "rectified_product",
    "rectified_product_series",
    "rfa_apply",
    "rfa_complexity",
    "rfa_features",
    "rfa_fit",
    "rfa_fit_constrained",
    "rfa_gram",
    "rfa_init",
    "rfa_kernel",
    "rfa_kernel_diagonal",
    "rfmlp_complexity",
    "rfmlp_features",
    "rfmlp_init",
    "rfmlp_kernel",
    "rkhs_norm_sq",
    "rotate_chunks",
    "sample_sphere_tokens",
    "set_polynomial",
    "tensor_attention_gradient",
    "tensor_attention_loss",
    "virtual_attention",
]
