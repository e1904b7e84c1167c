"""How each paper stands: by the newest runs of this machine, and by the recorded runs that README and docs show."""

from dataclasses import dataclass
from pathlib import Path

from experiments.harness.claims import count_reproduced
from experiments.harness.record import recorded_runs
from experiments.harness.registry import Paper, implemented, papers
from experiments.harness.run_folder import RunFolder, runs_of

__all__ = [
    "Overview",
    "Reproduction",
    "markdown_table",
    "overviews",
    "replace_between_markers",
    "reproductions",
]


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


@dataclass(frozen=True)
class Reproduction:
    """A paper with its recorded runs by preset, quick first."""

    paper: Paper
    implemented: bool
    recorded: dict[str, RunFolder]

    @property
    def status(self) -> str:
        """One phrase: planned, not recorded, or how many claims each recorded run reproduced."""
        if not self.implemented:
            return "planned"
        counts = {preset: count_reproduced(run.read("claims")) for preset, run in self.recorded.items()}
        quick = counts.pop("quick", None)
        parts = [f"{quick} claims reproduced"] if quick else []
        parts += [f"{preset} {count}" for preset, count in counts.items()]
        return f"implemented: {', '.join(parts) or 'not recorded'}"


def reproductions() -> list[Reproduction]:
    """The recorded runs of every paper, in the papers' order."""
    return [Reproduction(paper, implemented(paper.slug), recorded_runs(paper.slug)) for paper in papers()]


def markdown_table(rows: list[Reproduction]) -> str:
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
