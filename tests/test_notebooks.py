"""Every script in `notebooks/` runs without a warning, and its notebook says the same."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SPEC = importlib.util.spec_from_file_location("make_notebooks", NOTEBOOKS / "_make.py")
make_notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_notebooks)

each_script = pytest.mark.parametrize("script", make_notebooks.scripts(), ids=lambda script: script.stem)


@pytest.mark.runs
@each_script
def test_the_script_runs(script, tmp_path):
    variables = os.environ | {"MPLBACKEND": "agg"}
    for name in ("JAX_NUM_CPU_DEVICES", "PYTHONPATH"):
        variables.pop(name, None)
    variables["PYTHONPATH"] = str(NOTEBOOKS.parent)
    done = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, env=variables, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert not list(tmp_path.iterdir())


@each_script
def test_the_notebook_is_made_from_the_script(script):
    notebook, source = nbformat.read(script.with_suffix(".ipynb"), as_version=4), make_notebooks.read_script(script)
    outputs = [cell.pop("outputs") for cell in notebook.cells if cell.cell_type == "code"]
    for cell in source.cells:
        cell.pop("outputs", None)
    assert notebook == source, "make notebooks brings it up to date"
    kept = [output for cell in outputs for output in cell]
    assert [list(output.data) for output in kept] in ([], [["image/png"]])
    nbformat.validate(nbformat.read(script.with_suffix(".ipynb"), as_version=4))


@each_script
def test_it_opens_with_a_title_and_a_badge_and_installs_on_colab_only(script):
    title, install, *_ = make_notebooks.read_script(script).cells
    assert re.match(r"# \w.*\n\n\[!\[Open in Colab\]", title.source)
    assert f"/notebooks/{script.stem}.ipynb)" in title.source
    assert 'if "google.colab" in sys.modules' in install.source
    assert not re.search(r"install.*\bjax\b", install.source.replace("jaxlib_methods", ""))
    assert sum("pip" in cell.source for cell in make_notebooks.read_script(script).cells) == 1


def test_every_notebook_has_its_script():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {path.stem for path in make_notebooks.scripts()}
