"""The thirty papers, and the experiment modules of those implemented."""

import importlib
import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from experiments.harness.config import UsageError, choose

__all__ = ["Paper", "implemented", "load_experiment", "papers"]

PAPERS_FILE = Path(__file__).parents[1] / "papers.toml"


@dataclass(frozen=True)
class Paper:
    """One row of `papers.toml`."""

    slug: str
    title: str
    date: str
    group: str
    module: str | None = None


def papers() -> list[Paper]:
    """All papers, in the order of the file."""
    return [Paper(**row) for row in tomllib.loads(PAPERS_FILE.read_text())["papers"]]


def implemented(slug: str) -> bool:
    """Whether the paper's experiment has been written."""
    return importlib.util.find_spec(f"experiments.{slug}") is not None


def load_experiment(slug: str) -> ModuleType:
    """Imports the experiment of a paper.

    Raises:
      UsageError: if no paper has that slug, or its experiment is not written yet.
    """
    choose("experiment", slug, [*(paper.slug for paper in papers()), "all"])
    if not implemented(slug):
        raise UsageError(f"{slug} is not implemented yet")
    return importlib.import_module(f"experiments.{slug}")
