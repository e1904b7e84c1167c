"""Programs compiled fast rather than well: compiling is most of the work here."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _fast_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
