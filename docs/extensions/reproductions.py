"""Directives that show what was measured, from `docs/recorded` and `benchmarks/results`.

`{recorded} slug`     every recorded run: command, figures, claims, timings, environment
`{benchmarks} slug`   the recorded benchmarks; without a slug those of all papers
`{papers}`            all papers with their recorded runs
"""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from experiments.harness import bench
from experiments.harness.bench_table import benchmark_table
from experiments.harness.claims import count_reproduced, expectation, short
from experiments.harness.figures import DOTS_PER_INCH
from experiments.harness.overview import reproductions
from experiments.harness.record import recorded_runs
from experiments.harness.registry import papers
from experiments.harness.report import MARKS
from experiments.harness.run_folder import RunFolder
from jaxlib_methods.runtime.files import read_json

SCREEN_DOTS_PER_INCH = 96

Cell = str | Sequence[nodes.Node]


def setup(app):
    """Registers the directives."""
    app.add_directive("recorded", Recorded)
    app.add_directive("benchmarks", Benchmarks)
    app.add_directive("papers", Papers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Recorded(SphinxDirective):
    """The recorded runs of an experiment, a section for each preset."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The sections, or a sentence if there are none."""
        self.env.note_reread()
        runs = recorded_runs(self.arguments[0])
        if not runs:
            return [nodes.paragraph("", "No run has been recorded yet.")]
        return [self._run(preset, run) for preset, run in runs.items()]

    def _run(self, preset: str, run: RunFolder) -> nodes.section:
        claims, environment = run.read("claims"), run.read("environment")
        title = f"Preset {preset}: {count_reproduced(claims)} claims reproduced"
        command = shlex.join(environment["command"])
        head = ("", "claim", "expected", "measured", "source")
        section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(f"preset-{preset}")])
        section += nodes.literal_block(command, command, language="sh")
        figures = [self._figure(path) for path in sorted((run.path / "figures").glob("*.png"))]
        section += nodes.container("", *figures, classes=["figures"])
        section += _table(head, map(_claim, claims), [8, 44, 15, 15, 18], "claims")
        section += nodes.paragraph("", _where(environment))
        section += nodes.paragraph("", _how_long(run.read("result")["timings"]))
        return section

    def _figure(self, path: Path) -> nodes.figure:
        width = int.from_bytes(path.read_bytes()[16:20]) * SCREEN_DOTS_PER_INCH // DOTS_PER_INCH
        name, place = path.stem.replace("_", " "), "/" + path.relative_to(self.env.srcdir).as_posix()
        return nodes.figure("", nodes.image("", uri=place, alt=name, width=f"{width}px"), nodes.caption("", name))


def _claim(claim: dict[str, Any]) -> list[Cell]:
    status = claim["status"]
    mark = nodes.inline("", MARKS[status], classes=["mark", status.replace(" ", "-")])
    return [
        [nodes.paragraph("", "", mark)],
        [nodes.paragraph("", claim["statement"]), _quiet(f"{claim['id']} · {status}")],
        expectation(claim),
        short(claim["measured"]),
        [nodes.paragraph("", claim["source"]), _quiet(claim["origin"])],
    ]


def _quiet(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text, classes=["quiet"])


def _where(environment: dict[str, Any]) -> str:
    device = f"{environment['device_count']} × {environment['device_kind']} ({environment['cpu_count']} CPU cores)"
    names = ("jax", "jaxlib", "numpy", "optax", "flax")
    versions = [f"{name} {environment[name]}" for name in names if environment.get(name)]
    commit = (environment.get("git") or {}).get("commit", "")[:10]
    parts = [device, f"{environment['system']}, Python {environment['python']}", *versions]
    return f"Measured on {', '.join(parts)}{', commit ' if commit else ''}{commit}."


def _how_long(timings: dict[str, float]) -> str:
    parts = [f"{label} {_seconds(seconds)}" for label, seconds in timings.items() if label not in ("run", "claims")]
    inside = f", of which {', '.join(parts)}" if parts else ""
    return f"Took {_seconds(timings['run'])}{inside}."


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class Benchmarks(SphinxDirective):
    """The recorded benchmarks of an experiment, or of all that have any."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The tables, or a sentence if there are none."""
        self.env.note_reread()
        if self.arguments:
            return self._tables(self.arguments[0]) or [nodes.paragraph("", "Not measured yet.")]
        sections = []
        for paper in papers():
            if tables := self._tables(paper.slug):
                title = nodes.title("", "", _method(self.env, paper.slug))
                sections.append(nodes.section("", title, *tables, ids=[nodes.make_id(paper.slug)]))
        return sections or [nodes.paragraph("", "Nothing has been measured yet.")]

    def _tables(self, slug: str) -> list[nodes.Node]:
        path = bench.BENCHMARKS / "results" / f"{slug}.json"
        return self.parse_text_to_nodes(benchmark_table(read_json(path))) if path.exists() else []


class Papers(SphinxDirective):
    """The table of reproductions."""

    def run(self) -> list[nodes.Node]:
        """One row for each paper; a slug leads to the method's page where there is one."""
        self.env.note_reread()
        rows = []
        for row in reproductions():
            paper = row.paper
            title = [nodes.paragraph("", paper.title), _quiet(f"{paper.group.replace('_', ' ')} · {paper.date}")]
            rows.append([[nodes.paragraph("", "", _method(self.env, paper.slug))], title, row.status])
        return [_table(("method", "paper", "status"), rows, [28, 50, 22], "papers")]


def _method(env: BuildEnvironment, slug: str) -> nodes.Node:
    """The slug, leading to the method's page where there is one."""
    name = nodes.literal("", slug)
    if not (Path(env.srcdir) / "methods" / f"{slug}.md").exists():
        return name
    target = f"/methods/{slug}"
    return addnodes.pending_xref("", name, refdomain="std", reftype="doc", reftarget=target, refexplicit=True)


def _table(head: Sequence[str], rows: Iterable[Sequence[Cell]], widths: Sequence[int], kind: str) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(widths))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group, classes=[kind])


def _row(cells: Sequence[Cell]) -> nodes.row:
    contents = [[nodes.paragraph("", cell)] if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", *content) for content in contents))
