"""How each paper stands: planned, implemented, and what its newest runs say."""

from dataclasses import dataclass
from pathlib import Path

from experiments.harness.claims import count_reproduced
from experiments.harness.registry import Paper, implemented, papers
from experiments.harness.run_folder import RunFolder, runs_of

__all__ = ["Overview", "markdown_table", "overviews", "replace_between_markers"]


@dataclass(frozen=True)
class Overview:
    """A paper with its newest run, its newest finished run, and its newest finished quick run."""

    paper: Paper
    implemented: bool
    newest: RunFolder | None
    finished: RunFolder | None
    quick: RunFolder | None

    @property
    def status(self) -> str:
        """One phrase: planned, not run, or how many claims the newest quick run reproduced."""
        if not self.implemented:
            return "planned"
        if self.quick is not None:
            return f"implemented: {count_reproduced(self.quick.read('claims'))} claims reproduced"
        if self.newest is not None:
            return f"implemented: newest run {self.newest.state()}"
        return "implemented: not run"


def overviews(runs: Path) -> list[Overview]:
    """The overview of every paper, in the papers' order."""
    return [_overview(paper, runs_of(runs, paper.slug)) for paper in papers()]


def _overview(paper: Paper, runs: list[RunFolder]) -> Overview:
    finished = [run for run in runs if run.state() == "finished"]
    quick = [run for run in finished if run.read("config")["preset"] == "quick"]
    newest, newest_finished, newest_quick = ((group or [None])[-1] for group in (runs, finished, quick))
    return Overview(paper, implemented(paper.slug), newest, newest_finished, newest_quick)


def markdown_table(rows: list[Overview]) -> str:
    """The table of reproductions that the README shows."""
    lines = ["| slug | module | paper | status |", "| --- | --- | --- | --- |"]
    for row in rows:
        paper = row.paper
        module = f"`{paper.module}`" if paper.module else ""
        lines.append(f"| `{paper.slug}` | {module} | {paper.title} ({paper.date}) | {row.status} |")
    return "\n".join(lines) + "\n"


def replace_between_markers(text: str, table: str) -> str:
    """Puts the table between the comments `<!-- reproductions -->` and `<!-- /reproductions -->`.

    Raises:
      ValueError: if the text does not hold both comments.
    """
    start, end = "<!-- reproductions -->", "<!-- /reproductions -->"
    if start not in text or end not in text.split(start, 1)[1]:
        raise ValueError(f"needs the markers {start} and {end}")
    before, rest = text.split(start, 1)
    return f"{before}{start}\n{table}{end}{rest.split(end, 1)[1]}"
