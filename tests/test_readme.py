"""The README's Python is run as printed, and its commands exist."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_blocks_run_in_order():
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(block, scope)
    assert scope["samples"].shape == (16, 64)
    assert np.all(np.isfinite(scope["samples"]))
    assert jnp.abs(scope["samples"]).max() < 3


def test_the_library_example_has_at_most_fifteen_lines():
    lines = re.findall(r"```python\n(.*?)```", README, re.S)[0].splitlines()
    assert len([line for line in lines if line.strip()]) <= 15


def test_every_make_target_named_exists():
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= named <= targets
