"""One HTML page over the newest runs: no script, no other file, readable in light and dark."""

import base64
import shlex
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from experiments.harness.claims import count_reproduced, expectation, short
from experiments.harness.figures import DOTS_PER_INCH
from experiments.harness.overview import Overview
from experiments.harness.record import command_words
from experiments.harness.run_folder import RunFolder

__all__ = ["html_page"]

STATES = {"running": "goes on", "died": "died", "failed": "failed", "interrupted": "was interrupted"}
MARKS = {"reproduced": "✓", "not reproduced": "✗", "not run": "–"}

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reproductions</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --quiet: light-dark(#666, #9a9a9a);
        --good: light-dark(#0a6b3d, #6fd39f); --bad: light-dark(#b3261e, #ff8a80); }
body { max-width: 70rem; margin: 0 auto; padding: 1.5rem; font: 16px/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 3rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; }
td.statement { width: 40%; min-width: 14rem; }
td.number { font-variant-numeric: tabular-nums; min-width: 6rem; }
td.status { white-space: nowrap; font-weight: 600; }
.reproduced { color: var(--good); }
.not-reproduced, .warning { color: var(--bad); }
.quiet { color: var(--quiet); font-size: .875rem; }
code, pre { font: .8125rem/1.5 ui-monospace, monospace; background: var(--soft); border-radius: .25rem; }
code { padding: .1rem .3rem; overflow-wrap: anywhere; }
pre { padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
.figures { display: flex; flex-wrap: wrap; align-items: start; gap: 1rem; }
figure { margin: 0; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; background: #fff; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .8125rem; text-align: center; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; font-size: .875rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>Reproductions</h1>
<p>What each paper claims, beside what its newest run measured.</p>
$index
$sections
</body>
</html>
""")


def html_page(rows: list[Overview]) -> str:
    """The page: an index of all papers, and a section for every experiment that has a run."""
    index = _table(("experiment", "paper", "status"), [_index_row(row) for row in rows])
    return PAGE.substitute(index=index, sections="".join(_section(row) for row in rows if row.newest is not None))


def _index_row(row: Overview) -> str:
    slug = escape(row.paper.slug)
    name = f'<a href="#{slug}">{slug}</a>' if row.newest is not None else slug
    return f"<td>{name}</td><td>{escape(row.paper.title)}</td><td>{escape(row.status)}</td>"


def _table(head: tuple[str, ...], rows: list[str]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(row: Overview) -> str:
    paper = row.paper
    parts = [f'<section id="{escape(paper.slug)}"><h2>{escape(paper.title)}</h2>']
    parts.append(f'<p class="quiet">{escape(paper.slug)} · {escape(paper.group)} · {escape(paper.date)}</p>')
    if row.newest is not None and row.newest is not row.finished:
        parts.append(_unfinished(row.newest))
    if row.finished is not None:
        parts.append(_finished(row.finished))
    return "".join([*parts, "</section>"])


def _unfinished(run: RunFolder) -> str:
    state, error = run.state(), run.read("status", {}).get("error")
    reason = f": {escape(error)}" if error else "."
    resume = "" if state == "running" else _command(["run", run.slug, "--resume", str(run.path)])
    return f'<p class="warning">The newest run, {escape(str(run.path))}, {STATES[state]}{reason}</p>{resume}'


def _finished(run: RunFolder) -> str:
    claims, config = run.read("claims"), run.read("config")
    head = ("status", "claim", "expected", "measured", "source")
    facts = {"preset": config["preset"], "seed": config["seed"], "mesh": config["mesh"] or "one device"}
    facts["folder"] = str(run.path)
    timings = {name: f"{seconds:.1f} s" for name, seconds in run.read("result")["timings"].items()}
    figures = "".join(_figure(path) for path in sorted((run.path / "figures").glob("*.png")))
    return "".join(
        [
            f"<p><strong>{count_reproduced(claims)} claims reproduced.</strong></p>",
            _table(head, [_claim_row(claim) for claim in claims]),
            f'<h3>Figures</h3><div class="figures">{figures}</div>' if figures else "",
            f"<h3>To reproduce</h3>{_command(command_words(config))}",
            '<div class="facts">',
            f"<div><h3>Run</h3>{_facts(facts)}<h3>Timings</h3>{_facts(timings)}</div>",
            f"<div><h3>Environment</h3>{_facts(run.read('environment'))}</div>",
            "</div>",
        ]
    )


def _claim_row(claim: dict[str, Any]) -> str:
    status = claim["status"]
    return (
        f'<td class="status {escape(status.replace(" ", "-"))}">{MARKS[status]} {escape(status)}</td>'
        f'<td class="statement">{escape(claim["statement"])}<br><span class="quiet">{escape(claim["id"])}</span></td>'
        f'<td class="number">{escape(expectation(claim))}</td>'
        f'<td class="number">{escape(short(claim["measured"]))}</td>'
        f'<td>{escape(claim["source"])}<br><span class="quiet">{escape(claim["origin"])}</span></td>'
    )


def _figure(path: Path) -> str:
    content = path.read_bytes()
    width = int.from_bytes(content[16:20]) * 96 // DOTS_PER_INCH  # text of all figures in one size
    name = escape(path.stem.replace("_", " "))
    image = f'<img src="data:image/png;base64,{base64.b64encode(content).decode()}" width="{width}" alt="{name}">'
    return f"<figure>{image}<figcaption>{name}</figcaption></figure>"


def _command(words: list[str]) -> str:
    return f"<pre>python -m experiments {escape(shlex.join(words))}</pre>"


def _facts(facts: dict[str, Any]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(_fact(v))}</dd>" for k, v in facts.items()) + "</dl>"


def _fact(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else short(value)
