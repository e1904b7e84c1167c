"""The site builds without a warning and leads everywhere; the walk-through, followed to the letter, works."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jax
import pytest

import jaxlib_methods
from experiments.harness.overview import markdown_table, replace_between_markers, reproductions
from experiments.harness.record import recorded_runs
from experiments.harness.registry import papers
from jaxlib_methods.runtime import load

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
EXTERNAL = ("http", "https", "mailto")


def run(*arguments, cwd, **environment):
    command = [sys.executable, *map(str, arguments)]
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)


class Page(HTMLParser):
    """Words, anchors and addresses of one page of the site."""

    def __init__(self, path):
        super().__init__()
        self.path, self.anchors, self.links, self.loaded, self.words = path, set(), [], [], []
        self.feed(path.read_text())
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag in ("img", "script", "link", "iframe"):
            self.loaded.append(attributes.get("src") or attributes.get("href") or "")

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by their address, built anew; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-E", "-d", folder / "doctrees"]
    done = run("-m", "sphinx", *options, DOCS, folder / "html", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    pages = folder / "html"
    return {str(path.relative_to(pages)): Page(path) for path in pages.rglob("*.html") if "_static" not in path.parts}


@pytest.mark.runs
def test_links_lead_to_pages_and_places_that_exist(site):
    pages = {page.path: page for page in site.values()}

    def exists(page, link):
        address = urlsplit(link)
        target = Path(os.path.normpath(page.path.parent / unquote(address.path))) if address.path else page.path
        if address.fragment and target in pages:
            return unquote(address.fragment) in pages[target].anchors
        return target.is_file()

    links = [(page, link) for page in site.values() for link in page.links if urlsplit(link).scheme not in EXTERNAL]
    assert len(links) > 100
    assert not [(name.path.name, link) for name, link in links if not exists(name, link)]


@pytest.mark.runs
def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.values():
        for address in page.loaded:
            assert not urlsplit(address).netloc, page.path
            assert (page.path.parent / unquote(urlsplit(address).path)).exists(), f"{page.path}: {address}"


@pytest.mark.runs
def test_all_papers_stand_on_the_first_page_with_their_status(site):
    for row in reproductions():
        assert row.paper.slug in site["index.html"].text
        assert " ".join(row.paper.title.split()) in site["index.html"].text.replace("’", "'")
        assert row.status in site["index.html"].text
    assert len(papers()) == 30


@pytest.mark.runs
def test_every_recorded_claim_and_figure_is_shown_on_the_page_of_its_method(site):
    for paper in papers():
        for run_ in recorded_runs(paper.slug).values():
            page = site[f"methods/{paper.slug}.html"]
            for claim in run_.read("claims"):
                assert f"{claim['id']} · {claim['status']}" in page.text
            for figure in (run_.path / "figures").glob("*.png"):
                assert any(Path(address).stem.startswith(figure.stem) for address in page.loaded)


@pytest.mark.runs
def test_every_public_name_has_an_entry_in_the_reference(site):
    for group in jaxlib_methods.__all__:
        for name in importlib.import_module(f"jaxlib_methods.{group}").__all__:
            assert f"jaxlib_methods.{group}.{name}" in site[f"api/{group}.html"].anchors


@pytest.mark.runs
def test_names_lead_to_their_entries_from_prose_and_from_docstrings(site):
    links = lambda page: [link.rpartition("#")[2] for link in site[page].links]
    assert "jaxlib_methods.nn.nnx_functional" in links("conventions.html")
    assert "jaxlib_methods.diffusion.gaussian_score" in links("methods/gaussian_score.html")
    assert links("api/diffusion.html").count("jaxlib_methods.diffusion.mixture_score") > 1


@pytest.mark.runs
def test_signatures_stand_as_they_were_written(site):
    text = site["api/diffusion.html"].text
    assert re.search(
        r'gaussian_score\( ?gaussian: Gaussian, x: Float\[Array, "b d"\], sigma: Sigma ?\) → Float\[Array, "b d"\]',
        text,
    )
    assert 'Sigma = Float[ArrayLike, ""] | Float[ArrayLike, " b"]' in text
    assert "*, block: int | None = None" in text


@pytest.mark.runs
def test_equations_are_mathml(site):
    text = site["methods/gaussian_score.html"].path.read_text()
    assert text.count("<math ") > 10
    assert "\\sigma" not in text


PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
PAGES = [*DOCS.glob("*.md"), *DOCS.glob("methods/*.md")]


@pytest.mark.parametrize("page", [p for p in PAGES if PYTHON_BLOCK.search(p.read_text())], ids=lambda page: page.stem)
def test_the_python_on_the_page_runs(page, unchecked):
    scope: dict = {
        "images": load("digits").train_x.reshape(-1, 64)
    }  # what a page may speak of without having loaded it
    with jax.numpy_rank_promotion("allow"):
        for block in PYTHON_BLOCK.findall(page.read_text()):
            if block not in README:  # those run in test_readme
                exec(block, scope)


def test_the_table_of_the_readme_is_made_from_the_recorded_runs():
    assert replace_between_markers(README, markdown_table(reproductions())) == README


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A copy of the project in which the files and lines of the page `add_a_method` have been added."""
    copy = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", ".*", "runs")
    for folder in ("jaxlib_methods", "experiments", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    page = (DOCS / "add_a_method.md").read_text()
    for language, name, block in re.findall(
        r'^`{3,}\{code-block\} (\w+)\n:caption: "`(\S+)`"\n\n(.*?)^`{3,}$', page, re.M | re.S
    ):
        file = copy / name
        if language == "diff":
            file.write_text(with_lines_added(file.read_text(), block))
        else:
            assert not file.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block)
    return copy


def with_lines_added(text, block):
    """The text with the lines marked `+` of the block, whose other lines it holds exactly once."""
    context = "".join(line[1:] for line in block.splitlines(keepends=True) if line[0] == " ")
    assert text.count(context) == 1, f"{context!r} must stand once in the file"
    return text.replace(context, "".join(line[1:] for line in block.splitlines(keepends=True)))


@pytest.mark.runs
def test_the_walk_through_passes_its_tests_and_contracts(followed):
    tests = [
        "tests/diffusion/test_score_matching.py",
        "tests/test_contracts.py",
        "jaxlib_methods/diffusion/score_matching.py",
    ]
    done = run("-m", "pytest", "-p", "no:cacheprovider", "-k", "score_matching or declared", *tests, cwd=followed)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15


@pytest.mark.runs
def test_the_walk_through_reproduces_its_claim(followed):
    done = run("-m", "experiments", "run", "score_matching", "--preset", "quick", cwd=followed)
    assert done.returncode == 0, done.stderr
    assert "score_matching: 1/1 claims reproduced" in done.stdout
    assert list(followed.glob("runs/score_matching/*/figures/deviation.png"))
