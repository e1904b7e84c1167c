"""The site: `make docs`, or `python -m sphinx -W docs docs/_build`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxlib_methods"
copyright = "the authors of jaxlib_methods"
extensions = [
    "myst_nb",
    "extensions.api",
    "extensions.mathml",
    "extensions.reproductions",
    "extensions.sources",
]
exclude_patterns = ["_build", "recorded", "extensions"]

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

html_theme = "furo"
html_title = "jaxlib_methods"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
