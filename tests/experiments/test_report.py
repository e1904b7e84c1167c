"""The page holds everything it shows, escapes what it quotes, and tells honestly how each run stands."""

import base64
import re
import shutil
from html.parser import HTMLParser

import pytest

from experiments.harness.command_line import main
from experiments.harness.overview import replace_between_markers
from experiments.harness.run_folder import runs_of


class Page(HTMLParser):
    """Collects tags and attributes, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(fakes, capsys):
    """Runs the commands given and returns the report's text."""

    def write(*commands):
        for command in commands:
            main(command.split())
        assert main(["report"]) == 0
        assert capsys.readouterr().out.endswith("runs/report.html\n")
        return (fakes / "runs" / "report.html").read_text()

    return write


def test_the_page_of_no_runs_lists_all_papers(page):
    text = page()
    assert [text.count(phrase) for phrase in ("implemented: not run", ">planned<", "<section")] == [2, 1, 0]


def test_the_page_is_one_file_without_scripts_or_links_to_anywhere(page):
    text = page("run fake_mean")
    document = Page(text)
    assert document.open == []
    assert not [tag for tag, _ in document.tags if tag in ("script", "link", "iframe", "object")]
    addresses = [
        value for _, attributes in document.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "url(" not in text
    assert "@import" not in text


def test_the_figures_of_the_run_are_inside(page, fakes):
    text = page("run fake_mean")
    (run,) = runs_of(fakes / "runs", "fake_mean")
    stored = {path.read_bytes() for path in (run.path / "figures").glob("*.png")}
    shown = {base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', text)}
    assert shown == stored
    assert len(shown) == 2


def test_claims_show_expected_measured_and_a_mark_beside_the_words(page):
    text = page("run fake_mean --config.expected 5")
    for phrase in ("✗ not reproduced", "✓ reproduced", "– not run", "5 ± 1", "at least 1", "needs the preset full"):
        assert phrase in text
    assert "1/2 claims reproduced" in text
    assert "run fake_mean --preset quick --seed 0 --config.expected=5" in text


def test_whatever_is_quoted_is_escaped(page):
    text = page("run fake_mean", "run fake_mean --config.fault raise")
    assert "Means &lt;b&gt;of&lt;/b&gt; digits &amp; more" in text
    assert "section &lt;1&gt;" in text
    assert "this one fails &lt;on purpose&gt;" in text


def test_a_failed_newest_run_is_told_and_the_last_finished_one_shown(page):
    text = page("run fake_mean", "run fake_mean --config.fault raise")
    assert re.search(r"The newest run, runs/fake_mean/\S+, failed: RuntimeError", text)
    assert "2/2 claims reproduced" in text


def test_a_run_that_died_is_told_with_the_command_to_resume(page, fakes):
    page("run fake_mean")
    (run,) = runs_of(fakes / "runs", "fake_mean")
    run.write_status("running")
    text = page()
    assert re.search(r"The newest run, runs/fake_mean/\S+, died\.", text)
    assert f"python -m experiments run fake_mean --resume runs/fake_mean/{run.path.name}" in text


def test_the_newest_finished_run_is_the_one_shown(page):
    text = page("run fake_mean --seed 1", "run fake_mean --seed 2")
    assert "--seed 2" in text
    assert "--seed 1" not in text


def test_the_markdown_table_maps_slug_to_module_paper_and_recorded_claims(fakes, capsys):
    main(["run", "fake_mean"])
    main(["run", "fake_mean", "--preset", "full"])
    table = lambda: (capsys.readouterr(), main(["report", "--markdown"]), capsys.readouterr().out.splitlines())[-1]
    assert table() == [
        "| slug | module | paper | status |",
        "| --- | --- | --- | --- |",
        "| `fake_mean` | `jaxlib_methods.fake` | Means <b>of</b> digits & more (Jan 2000) |"
        " implemented: not recorded |",
        "| `fake_training` |  | A line fitted slowly (Feb 2000) | implemented: not recorded |",
        "| `fake_planned` |  | Not written yet (Mar 2000) | planned |",
    ]
    main(["record", "fake_mean"])
    shutil.rmtree("runs")
    assert table()[2].endswith("| implemented: 2/2 claims reproduced, full 2/2 |")


def test_the_table_goes_between_the_markers_of_a_readme_and_nowhere_else(fakes, capsys):
    readme = fakes / "README.md"
    readme.write_text("before\n<!-- reproductions -->\nold\n<!-- /reproductions -->\nafter\n")
    assert main(["report", "--readme", "README.md"]) == 0
    once = readme.read_text()
    assert once.startswith("before\n<!-- reproductions -->\n| slug |")
    assert once.endswith("| planned |\n<!-- /reproductions -->\nafter\n")
    assert "old" not in once
    assert main(["report", "--readme", "README.md"]) == 0
    assert readme.read_text() == once


def test_a_readme_without_markers_is_left_alone(fakes, capsys):
    (fakes / "README.md").write_text("nothing here\n")
    assert main(["report", "--readme", "README.md"]) == 2
    assert "needs the markers" in capsys.readouterr().err
    assert (fakes / "README.md").read_text() == "nothing here\n"
    with pytest.raises(ValueError, match="needs the markers"):
        replace_between_markers("<!-- /reproductions --> <!-- reproductions -->", "table")
