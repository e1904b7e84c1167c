"""Small networks as init/apply pairs, and the adapter for flax.nnx modules."""

from jaxlib_methods.nn.mlp import Dense, mlp_apply, mlp_init, sinusoidal_features
from jaxlib_methods.nn.nnx import nnx_functional

__all__ = ["Dense", "mlp_apply", "mlp_init", "nnx_functional", "sinusoidal_features"]
