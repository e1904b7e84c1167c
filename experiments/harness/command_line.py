"""`python -m experiments {list, run, report, bench}`: thirty papers as experiments that check their claims.

list                 all papers and how they stand
run SLUG | all       run one experiment, or every implemented one, and print its claims
report               one HTML page over the newest runs
bench [SLUG]         time our functions against their peers

`COMMAND --help` says more. Exit codes: 0 all claims that ran passed, 1 one did not or a run failed, 2 the command line
is wrong, 143 stopped by SIGTERM (the state is saved; the command to resume is printed).
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.harness.arguments import Parser
from experiments.harness.bench import run_benchmarks
from experiments.harness.config import UsageError, choose
from experiments.harness.overview import markdown_table, overviews, replace_between_markers
from experiments.harness.registry import papers
from experiments.harness.report import html_page
from experiments.harness.run_command import run_command
from jaxlib_methods.runtime.files import write_atomic

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns the exit code; a wrong command line becomes one line on standard error."""
    try:
        code = _command(list(argv))
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _complain(str(error), 2)
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _command(argv: list[str]) -> int:
    commands = {"list": _list, "run": run_command, "report": _report, "bench": _bench}
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if argv else 2
    return commands[choose("command", argv[0], commands)](argv[1:])


def _complain(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


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
    parser.add_argument("--markdown", action="store_true", help="print the table of reproductions instead")
    parser.add_argument("--readme", type=Path, help="put that table between the markers of this file instead")
    options = parser.parse(argv)
    rows = overviews(options.runs)
    if options.markdown:
        print(markdown_table(rows), end="")
    if options.readme:
        try:
            text = replace_between_markers(options.readme.read_text(encoding="utf-8"), markdown_table(rows))
        except (OSError, ValueError) as error:
            raise UsageError(f"--readme {options.readme}: {getattr(error, 'strerror', error)}") from error
        write_atomic(options.readme, text)
    if not options.markdown and not options.readme:
        output = options.output or options.runs / "report.html"
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, html_page(rows))
        print(output)
    return 0


def _bench(argv: list[str]) -> int:
    parser = Parser("bench", "Times our functions against their peers and records the ratios.")
    parser.add_argument("slug", nargs="?", help="experiment (default: all that have benchmarks)")
    slug = parser.parse(argv).slug
    if slug is not None:
        choose("experiment", slug, [paper.slug for paper in papers()])
    return run_benchmarks(slug)
