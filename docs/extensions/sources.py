"""What is done to the text of a page before it is read."""

import re

HEADINGS = {"recorded": "Recorded runs", "benchmarks": "Benchmarks", "api": "API"}
BADGE = re.compile(r"!\[(Open in Colab)\]\(\S+?\)(?=\])")


def setup(app):
    """Connects both changes."""
    app.connect("source-read", _change)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _change(app, name: str, source: list[str]) -> None:
    if name.startswith("methods/"):
        source[0] = with_headings(source[0])
    if name.startswith("notebooks/"):  # the picture of the badge lies on another host
        source[0] = BADGE.sub(r"\1", source[0])


def with_headings(text: str) -> str:
    """Gives what is made from runs, benchmarks and docstrings a heading, where the author gave none."""
    for directive, title in HEADINGS.items():
        before, fence, after = text.partition(f"```{{{directive}}} ")
        if fence and not before.rstrip().rpartition("\n")[2].startswith("#"):
            text = f"{before}## {title}\n\n{fence}{after}"
    return text
