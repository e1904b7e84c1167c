"""Makes `<name>.ipynb` of each script `<name>.py` here: `python notebooks/_make.py [NAME ...]`, or `make notebooks`.

The script is the source. The notebook is run, and of its outputs only the first figure is kept.
"""

import base64
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent


def main(names: Sequence[str]) -> None:
    """Makes the notebooks of these names, or all."""
    for script in [HERE / f"{name}.py" for name in names] or scripts():
        notebook = read_script(script)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(HERE)}}).execute()
        keep_first_figure(notebook)
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        print(script.with_suffix(".ipynb"))


def scripts() -> list[Path]:
    """The scripts of all notebooks."""
    return sorted(HERE.glob("[!_]*.py"))


def read_script(script: Path) -> nbformat.NotebookNode:
    """The notebook of a script, without outputs; the same bytes from the same script."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook.metadata["language_info"] = {"name": "python"}
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{i}", {}
    return notebook


def keep_first_figure(notebook: nbformat.NotebookNode) -> None:
    """Drops what running has left in the notebook, except its first PNG image, in 256 colors."""
    notebook.metadata.language_info = {"name": "python"}
    figure = None
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            cell.execution_count, cell.outputs = None, []
            if images and figure is None:
                figure = smaller(images[0])
                cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": figure})]


def smaller(image: str) -> str:
    """A PNG image in base64, in 256 colors."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main(sys.argv[1:])
