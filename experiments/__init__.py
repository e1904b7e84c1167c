"""One script per paper, and the harness that runs them: `python -m experiments`."""
