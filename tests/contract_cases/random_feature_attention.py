"""Cases of `jaxlib_methods.attention`: random features."""

import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEPT, KEY, WIDER, array, case, normal, positive
from jaxlib_methods import attention

TOKENS, OTHERS = (np.concatenate([normal(8, 3, 2), np.ones((8, 3, 1))], 2) for _ in range(2))
HEADS = attention.RandomHeads(normal(4, 3, 3))
FACTORS = attention.RandomHeads(normal(4, 2, 3), normal(4, 2, 3), normal(3, 3))
A, B, R = normal(8), normal(8), np.linspace(-0.9, 0.9, 8)

CASES = {
    "attention.attention_tokens": case(
        attention.attention_tokens, normal(8, 2), normal(8, 3, 2), rows=(0, 1), bfloat16=KEPT
    ),
    "attention.bivariate_normal_cdf": case(attention.bivariate_normal_cdf, A, B, R, rows=(0, 1, 2)),
    "attention.head_count_bound": case(lambda b, k: attention.head_count_bound(b, k, 5), array(2.0), positive(8)),
    "attention.inner_product_kernel": case(attention.inner_product_kernel, R, B, rows=(0,)),
    "attention.key_power": case(lambda x, b: attention.key_power(x, b, 3), TOKENS, normal(2), rows=(0,), bfloat16=KEPT),
    "attention.project_heads": case(
        lambda v: attention.project_heads(v, 1.5, 4.0), normal(4, 3), grad=False, bfloat16=KEPT
    ),
    "attention.query_key_power": case(lambda x: attention.query_key_power(x, 2), TOKENS, rows=(0,), bfloat16=KEPT),
    "attention.query_key_product": case(attention.query_key_product, TOKENS, normal(2), rows=(0,), bfloat16=KEPT),
    "attention.rademacher_bound": case(
        lambda b, k: attention.rademacher_bound(b, k, 5, delta=0.1), array(2.0), positive(8)
    ),
    "attention.rectified_product": case(attention.rectified_product, A, B, R, rows=(0, 1, 2)),
    "attention.rectified_product_series": case(
        lambda a, b, r: attention.rectified_product_series(a, b, r, terms=8), A, B, R, rows=(0, 1, 2)
    ),
    "attention.rfa_apply": case(
        lambda h, v, x: attention.rfa_apply(h, v, x, block=3),
        FACTORS,
        normal(4, 3, 2),
        TOKENS,
        rows=(2,),
        bfloat16=KEPT,
    ),
    "attention.rfa_complexity": case(lambda t: attention.rfa_complexity({(0, 2): t, (1, 0): t[0]}), normal(2, 2)),
    "attention.rfa_features": case(
        lambda h, x: attention.rfa_features(h, x, readout="softmax"), FACTORS, TOKENS, rows=(1,), bfloat16=KEPT
    ),
    "attention.rfa_fit": case(lambda x, y: attention.rfa_fit(HEADS, x, y, 0.1), TOKENS, normal(8, 2), rows=(0, 1)),
    "attention.rfa_fit_constrained": case(
        lambda x, y: attention.rfa_fit_constrained(HEADS, x, y, 0.5, 0.5, steps=3), TOKENS, normal(8), grad=False
    ),
    "attention.rfa_gram": case(
        lambda h, x, y: attention.rfa_gram(h, x, y, block=3), FACTORS, TOKENS, OTHERS, rows=(1,), bfloat16=WIDER
    ),
    "attention.rfa_init": case(
        lambda k: attention.rfa_init(k, 2, 3, alpha=4.0, rank=2, dtype="float64"), KEY, grad=False
    ),
    "attention.rfa_kernel": case(
        lambda x, y: attention.rfa_kernel(x, y, alpha=2.0, nodes=8), TOKENS, OTHERS, rows=(0,), bfloat16=WIDER
    ),
    "attention.rfa_kernel_diagonal": case(attention.rfa_kernel_diagonal, TOKENS, rows=(0,), bfloat16=WIDER),
    "attention.rfmlp_complexity": case(lambda t: attention.rfmlp_complexity({(0, 2): t}, 3), normal(2, 2)),
    "attention.rfmlp_features": case(attention.rfmlp_features, normal(5, 7), TOKENS, rows=(1,), bfloat16=KEPT),
    "attention.rfmlp_init": case(lambda k: attention.rfmlp_init(k, 2, 3, 4, dtype="float64"), KEY, grad=False),
    "attention.rfmlp_kernel": case(attention.rfmlp_kernel, TOKENS, OTHERS, rows=(0,), bfloat16=KEPT),
    "attention.rkhs_norm_sq": case(
        lambda k, y: attention.rkhs_norm_sq(k @ k.T + 3 * jnp.eye(8, dtype=k.dtype), y), normal(8, 8), normal(8, 2)
    ),
    "attention.sample_sphere_tokens": case(
        lambda k: attention.sample_sphere_tokens(k, 4, 3, 2, dtype="float64"), KEY, grad=False
    ),
    "attention.set_polynomial": case(
        lambda x, t: attention.set_polynomial(x, {(1, 2): t, (0, 1): t[0, 0]}), TOKENS, normal(2, 2, 2), rows=(0,)
    ),
}

HOST: set[str] = set()
