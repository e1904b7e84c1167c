"""Cases of `jaxlib_methods.nn`."""

from contract_cases.case import KEPT, KEY, LAYERS, X, case
from jaxlib_methods import nn

CASES = {
    "nn.mlp_apply": case(nn.mlp_apply, LAYERS, X, rows=(1,), bfloat16=KEPT),
    "nn.mlp_init": case(lambda k: nn.mlp_init(k, (3, 4, 2)), KEY, grad=False),
    "nn.sinusoidal_features": case(lambda x: nn.sinusoidal_features(x, 4), X[:, 0], rows=(0,), bfloat16=KEPT),
}

HOST = {"nn.nnx_functional"}
