"""`python -m experiments {list, run, record, report, bench}`: thirty papers as experiments that check their claims.

list                 all papers and how they stand
run SLUG | all       run one experiment, or every implemented one, and print its claims
record RUN | SLUG    keep finished runs in docs/recorded, from which README and docs are made
report               one HTML page over the newest runs
bench [SLUG]         time our functions against their peers

`COMMAND --help` says more. Exit codes: 0 all claims that ran passed, 1 one did not or a run failed, 2 the command line
is wrong, 143 stopped by SIGTERM (the state is saved; the command to resume is printed).
"""

import dataclasses
import functools
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.harness.arguments import Parser
from experiments.harness.bench import run_benchmarks
from experiments.harness.config import UsageError, choose
from experiments.harness.job import ElsewhereError, Ending, Job
from experiments.harness.overview import markdown_table, overviews, replace_between_markers, reproductions
from experiments.harness.record import record_command
from experiments.harness.registry import papers
from experiments.harness.report import html_page
from experiments.harness.run_command import run_command
from jaxlib_methods.runtime.files import write_atomic

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns the exit code; a wrong command line becomes one line on standard error."""
    job = Job()
    ending = _ending(list(argv), job)
    if ending.error and job.first:
        print("error: " + " ".join(ending.error.split()), file=sys.stderr)
    return job.leave(ending)


def _ending(argv: list[str], job: Job) -> Ending:
    try:
        code = _command(argv, job)
        sys.stdout.flush()
        return Ending(code)
    except UsageError as error:
        return Ending(2, str(error))
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Ending(128 + signal.SIGPIPE)
    except OSError as error:
        return Ending(1, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ElsewhereError:
        return Ending(1)
    except KeyboardInterrupt:
        return Ending(128 + signal.SIGINT, None if job.alone else "interrupted")


def _command(argv: list[str], job: Job) -> int:
    run = functools.partial(run_command, job=job)
    commands = {"list": _list, "run": run, "record": record_command, "report": _report, "bench": _bench}
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if argv else 2
    return commands[choose("command", argv[0], commands)](argv[1:])


def _list(argv: list[str]) -> int:
    parser = Parser("list", "All papers: slug, group, status, title.")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead")
    options = parser.parse(argv)
    rows = overviews(options.runs)
    if options.json:
        entries = [
            dataclasses.asdict(row.paper)
            | {"implemented": row.implemented, "status": row.status}
            | {"run": str(row.newest.path) if row.newest else None}
            for row in rows
        ]
        print(json.dumps(entries, indent=2))
        return 0
    lines = [(row.paper.slug, row.paper.group, row.status, row.paper.title) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _report(argv: list[str]) -> int:
    parser = Parser("report", "Writes one self-contained HTML page over the newest finished run of each experiment.")
    parser.add_argument("--output", type=Path, help="the page (default: report.html in the folder of runs)")
    parser.add_argument("--markdown", action="store_true", help="print the table of recorded runs instead")
    parser.add_argument("--readme", type=Path, help="put that table between the markers of this file instead")
    options = parser.parse(argv)
    if options.markdown:
        print(markdown_table(reproductions()), end="")
    if options.readme:
        try:
            table = markdown_table(reproductions())
            text = replace_between_markers(options.readme.read_text(encoding="utf-8"), table)
        except (OSError, ValueError) as error:
            raise UsageError(f"--readme {options.readme}: {getattr(error, 'strerror', error)}") from error
        write_atomic(options.readme, text)
    if not options.markdown and not options.readme:
        output = options.output or options.runs / "report.html"
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, html_page(overviews(options.runs)))
        print(output)
    return 0


def _bench(argv: list[str]) -> int:
    parser = Parser("bench", "Times our functions against their peers and records the ratios.")
    parser.add_argument("slug", nargs="?", help="experiment (default: all that have benchmarks)")
    slug = parser.parse(argv).slug
    if slug is not None:
        choose("experiment", slug, [paper.slug for paper in papers()])
    return run_benchmarks(slug)
