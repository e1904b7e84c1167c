"""What the site's directives show of runs and benchmarks, honest about what failed or was never measured."""

import html
import re

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from experiments.harness import bench
from experiments.harness.command_line import main
from jaxlib_methods.runtime.files import write_json

SIDE = {"median": 2e-3, "low": 1e-3, "high": 3e-3, "first": 1.0, "peak_bytes": 2**20}
MEASURED = {"sizes": {"n": 8}, "ours": SIDE, "peer": SIDE, "not_run": None, "ratio": {"median": 1, "low": 1, "high": 1}}
CASE = {"name": "mean", "peer": "numpy", "overhead": False, "measured": [MEASURED], "growth": None, "targets": []}
ENVIRONMENT = {"device_count": 1, "device_kind": "cpu", "cpu_count": 2, "load": 0.1, "jax": "0", "numpy": "0"}


@pytest.fixture
def page(fakes, monkeypatch):
    """`page(text)` builds a site of one page and returns that page without tags."""
    monkeypatch.setattr(bench, "BENCHMARKS", fakes / "benchmarks")
    source = fakes / "docs"

    def build(text):
        source.mkdir(exist_ok=True)
        (source / "index.md").write_text(f"# Title\n\n{text}\n")
        settings = {"extensions": ["myst_nb", "extensions.reproductions"], "exclude_patterns": ["recorded"]}
        out = fakes / "out"
        with docutils_namespace():
            app = Sphinx(source, None, out, out / "trees", "html", settings, status=None, warningiserror=True)
            app.build(force_all=True)
        body = re.search(r'role="main">(.*?)<div class="clearer">', (out / "index.html").read_text(), re.S)[1]
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())

    return build


def recorded(*commands):
    for command in commands:
        main(["run", "fake_mean", *command.split()])
    assert main(["record", "fake_mean"]) == 0


def test_each_recorded_preset_has_its_claims_and_its_command(page):
    recorded("--preset full --seed 3", "")
    text = page("```{recorded} fake_mean\n```")
    assert text.index("Preset quick: 2/2 claims reproduced") < text.index("Preset full: 2/2 claims reproduced")
    assert "python -m experiments run fake_mean --preset full --seed 3" in text
    assert "✓ The mean & more. mean · reproduced 0 ± 1" in text
    assert "– Only with more points. full · not run - needs the preset full section <1> derived" in text
    assert re.search(r"Measured on \d+ × cpu \(\d+ CPU cores\), Linux, Python 3", text)
    assert re.search(r"Took \d+\.\d s\.", text)


def test_a_claim_that_failed_is_shown_as_failed(page, fakes):
    source = (fakes / "fake_mean.py").read_text()
    (fakes / "fake_mean.py").write_text(source.replace("expected: float = 0.0", "expected: float = 5.0"))
    recorded("")
    text = page("```{recorded} fake_mean\n```\n\n```{papers}\n```")
    assert "Preset quick: 1/2 claims reproduced" in text
    assert "✗ The mean & more. mean · not reproduced 5 ± 1" in text
    assert "implemented: 1/2 claims reproduced" in text


def test_nothing_recorded_and_nothing_measured_are_said(page):
    assert "No run has been recorded yet." in page("```{recorded} fake_mean\n```")
    assert "Not measured yet." in page("```{benchmarks} fake_mean\n```")
    assert "Nothing has been measured yet." in page("```{benchmarks}\n```")


def test_papers_are_listed_with_their_status(page):
    text = page("```{papers}\n```")
    assert "fake_mean Means <b>of</b> digits & more tests · Jan 2000 implemented: not recorded" in text
    assert "fake_planned Not written yet tests · Mar 2000 planned" in text


def test_benchmarks_are_tables(page, fakes):
    (fakes / "benchmarks" / "results").mkdir(parents=True)
    record = {"slug": "fake_mean", "environment": ENVIRONMENT, "cases": [CASE], "claims": []}
    write_json(fakes / "benchmarks" / "results" / "fake_mean.json", record)
    for text in (page("```{benchmarks} fake_mean\n```"), page("```{benchmarks}\n```")):
        assert "mean; peer: numpy n 8 2 ms (1 to 3) 2 ms (1 to 3) 1 (1 to 1) 1 MiB 1 MiB" in text
