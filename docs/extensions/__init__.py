"""What the site adds to Sphinx: recorded runs and benchmarks, the API from docstrings, and equations as MathML."""
