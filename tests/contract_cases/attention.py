"""Cases of `jaxlib_methods.attention`."""

import numpy as np

from contract_cases.case import KEPT, KEY, array, case, normal
from jaxlib_methods import attention

Q = normal(8, 3, 2, 2)
KS, VS = (normal(8, 3, 1, 2), normal(8, 4, 1, 2)), (normal(8, 3, 1, 3), normal(8, 4, 1, 3))
SELF = (normal(8, 3, 1, 2), normal(8, 3, 1, 2))
PLAN = attention.poly_plan(1.0, 2, 0.1)
CONFIG = attention.KronLayerConfig(heads=2, kv_heads=1, head_dim=2, null=True, normalise=True)
ORDER_2 = attention.KronLayerConfig(heads=2, kv_heads=1, head_dim=2, order=2)
LAYER = attention.KronLayer(
    query=normal(3, 2, 2),
    keys=(normal(3, 1, 2), normal(3, 1, 2)),
    values=(normal(3, 1, 2), normal(3, 1, 2)),
    out=normal(2, 2, 3),
    gains=(normal(2), normal(2), normal(2)),
    null_keys=(normal(1, 2), normal(1, 2)),
    null_values=(normal(1, 2), normal(1, 2)),
)
RESIDUES = np.arange(24).reshape(8, 3) % 5
THEORY = tuple(normal(3, 2) for _ in range(5)), normal(2, 4), normal(4, 2), normal(3, 2)

CASES = {
    "attention.elu_features": case(attention.elu_features, Q, rows=(0,), bfloat16=KEPT),
    "attention.kron_attention": case(
        lambda *a: attention.kron_attention(*a, block_q=2, block_k=2), Q, KS, VS, rows=(0, 1, 2), bfloat16=KEPT
    ),
    "attention.kron_attention_poly": case(
        lambda *a: attention.kron_attention_poly(*a, PLAN, scale=0.1), Q, KS, VS, rows=(0, 1, 2), bfloat16=KEPT
    ),
    "attention.kron_attention_semi_linear": case(
        lambda *a: attention.kron_attention_semi_linear(*a, attention.elu_features),
        Q,
        KS,
        VS,
        rows=(0, 1, 2),
        bfloat16=KEPT,
    ),
    "attention.kron_attention_with_lse": case(
        lambda *a: attention.kron_attention_with_lse(*a, windows=2, block_q=2, block_k=2), Q, SELF, SELF, rows=(0, 1, 2)
    ),
    "attention.kron_layer_apply": case(
        lambda p, x: attention.kron_layer_apply(p, x, config=CONFIG), LAYER, normal(8, 4, 3), rows=(1,), bfloat16=KEPT
    ),
    "attention.kron_layer_init": case(lambda k: attention.kron_layer_init(k, 3, ORDER_2), KEY, grad=False),
    "attention.kron_logit_bound": case(attention.kron_logit_bound, Q, KS, rows=(0, 1), bfloat16=KEPT),
    "attention.kron_virtual_attention": case(
        lambda *a: attention.kron_virtual_attention(*a, virtual=2), Q, SELF, SELF, rows=(0, 1, 2), bfloat16=KEPT
    ),
    "attention.match3_features": case(lambda x: attention.match3_features(x, 5), RESIDUES, rows=(0,), grad=False),
    "attention.match3_labels": case(lambda x: attention.match3_labels(x, 5), RESIDUES, rows=(0,), grad=False),
    "attention.poly_error_bound": case(lambda vs: attention.poly_error_bound(PLAN, vs), VS, rows=(0,), bfloat16=KEPT),
    "attention.rotate_chunks": case(
        attention.rotate_chunks, normal(8, 3, 1, 7), array(0.3, 1.0, 2.0), rows=(0,), bfloat16=KEPT
    ),
    "attention.tensor_attention_gradient": case(attention.tensor_attention_gradient, *THEORY),
    "attention.tensor_attention_loss": case(attention.tensor_attention_loss, *THEORY),
    "attention.virtual_attention": case(
        lambda *a: attention.virtual_attention(*a, virtual=1), Q, SELF[0], SELF[1], rows=(0, 1, 2), bfloat16=KEPT
    ),
}

HOST = {f"attention.{name}" for name in ("match3_layer", "poly_plan", "positive_random_features")}
