"""Docstrings, signatures and equations come out as they were written."""

import pytest
from docutils import nodes
from extensions.docstrings import docstring_nodes
from extensions.mathml import to_mathml
from extensions.reference import full_names, group_modules, read_module
from extensions.sources import with_headings

import jaxlib_methods

DOCSTRING = """Sums |x_i|^2 over *all* rows; see `other`.

    y = sum_i |x_i|^2,

    z = 2 y.

It is a `sum`
of squares.

Args:
  x: rows (n, d), a `matrix`;
    any n.
  *more: passed on.

Returns:
  The sum: a scalar.

Raises:
  ValueError: if x is empty.

Cost: O(n d).

>>> total(1)
1

>>> total(2)
4
"""


@pytest.fixture
def blocks():
    return docstring_nodes(DOCSTRING, lambda name: nodes.literal("", name))


def test_blocks_of_a_docstring_are_told_apart(blocks):
    kinds = ["paragraph", "literal_block", "paragraph", "field_list", "field_list", "field_list", "paragraph"]
    assert [block.tagname for block in blocks] == [*kinds, "literal_block", "literal_block"]


def test_text_is_not_markup_except_for_backticks(blocks):
    assert blocks[0].astext() == "Sums |x_i|^2 over *all* rows; see other."
    assert [node.astext() for node in blocks[0].findall(nodes.literal)] == ["other"]
    assert blocks[2].astext() == "It is a sum of squares."


def test_equations_keep_their_lines(blocks):
    assert blocks[1].astext() == "y = sum_i |x_i|^2,\n\nz = 2 y."


def test_entries_of_a_section_keep_name_and_text(blocks):
    args = [paragraph.astext() for paragraph in blocks[3].findall(nodes.paragraph)]
    assert args == ["x: rows (n, d), a matrix; any n.", "*more: passed on."]
    assert blocks[4].astext() == "Returns\n\nThe sum: a scalar."
    assert blocks[5].astext() == "Raises\n\nValueError: if x is empty."


def test_doctests_are_python_sessions(blocks):
    assert [block["language"] for block in blocks[-2:]] == ["pycon", "pycon"]
    assert blocks[-1].astext() == ">>> total(2)\n4"


def entry(name):
    group = name.split(".")[1]
    return next(e for module in group_modules(group) for e in module.entries if e.full_name == name)


def test_parameters_are_the_authors_words():
    assert entry("jaxlib_methods.diffusion.mixture_score").parameters == [
        "mixture: GaussianMixture",
        'x: Float[Array, "b d"]',
        "sigma: Sigma",
        "*",
        "block: int | None = None",
    ]
    assert "*args: Any" in entry("jaxlib_methods.diffusion.edm_loss").parameters


def test_classes_show_fields_methods_and_properties():
    image_set = entry("jaxlib_methods.runtime.ImageSet")
    assert image_set.parameters[0] == 'train_x: Float32[np.ndarray, "n h w c"]'
    assert [(member.name, member.kind) for member in image_set.members] == [("all", "method")]
    assert ("evaluations", "property") in [
        (m.name, m.kind) for m in entry("jaxlib_methods.diffusion.SamplerPlan").members
    ]
    assert entry("jaxlib_methods.runtime.Checkpointer").parameters == ["directory: Path | str", "*", "keep: int = 3"]
    assert entry("jaxlib_methods.diffusion.NUM_LABELS")[1:] == (
        "data",
        None,
        "9",
        "Numbers that describe one image's augmentation.",
        [],
    )


def test_named_types_are_spelled_out_where_they_are_used():
    assert read_module("jaxlib_methods.diffusion.heun").aliases == {
        "Levels": 'Float[ArrayLike, " levels"] | Sequence[float]'
    }
    assert read_module("jaxlib_methods.nn.mlp").aliases == {}


def test_every_exported_name_is_found_and_helpers_are_not():
    exported = {
        f"jaxlib_methods.{group}.{name}"
        for group in jaxlib_methods.__all__
        for name in __import__(f"jaxlib_methods.{group}", fromlist=["__all__"]).__all__
    }
    assert exported <= set(full_names().values())
    assert full_names()["runtime.train"] == "jaxlib_methods.runtime.train.train"
    assert "require" not in full_names()


@pytest.mark.parametrize(
    ("latex", "phrase"),
    [
        (r"\begin{align*} a &= b \\ c &= d \end{align*}", "<mtable"),
        (r"x_1, \dots, x_n", "…"),
        (r"a \stackrel{d}{=} b", "<mover>"),
        (r"\bigl| x \Big|", "|"),
        (r"\sum_i, \textstyle\sum_i", "<munder"),
        (r"\bigcup_i A_i", "⋃"),
        (r"\log p", '<mspace width="0.17em"></mspace>'),
        (r"\operatorname{tr} \mathbb{E}[x] \le \|y\|", "tr"),
    ],
)
def test_equations_that_docutils_lacks_are_rewritten(latex, phrase):
    assert phrase in to_mathml(latex, display=True)


def test_no_space_stands_between_a_function_and_its_parenthesis():
    assert "mspace" not in to_mathml(r"\log(x) + \log[x]", display=False)


def test_what_is_generated_gets_a_heading_where_the_author_gave_none():
    fences = "```{recorded} a\n```\n\n## Speed\n\n```{benchmarks} a\n```\n\n```{api} b\n```\n\n```{api} c\n```\n"
    page = f"# T\n\nText.\n\n{fences}"
    headings = [line for line in with_headings(page).splitlines() if line.startswith("#")]
    assert headings == ["# T", "## Recorded runs", "## Speed", "## API"]
    assert with_headings("# T\n") == "# T\n"


def test_bars_stand_close_to_what_they_hold_and_conditions_do_not():
    assert to_mathml(r"|x| \le \|y\|", display=True).count('lspace="0" rspace="0"') == 4
    assert "lspace" not in to_mathml(r"P(x \mid y)", display=True)


def test_delimiters_grow_only_where_that_is_asked_for():
    for plain in (r"\langle x \rangle", r"\|x\|_2", r"\lVert x \rVert", "|x|"):
        assert to_mathml(plain, display=True).count('stretchy="false"') == 2
    for sized in (r"\left\langle x \right\rangle", r"\bigl\| x \bigr\|", r"\Bigl[ x \Bigr]"):
        assert "stretchy" not in to_mathml(sized, display=True)


def test_digits_after_frac_are_its_arguments():
    half = "<mfrac> <mn>1</mn> <mn>2</mn> </mfrac>"
    for latex in (r"\frac12 z", r"\frac 1 2 z", r"\frac1{2} z", r"\frac{1}2 z"):
        assert half in " ".join(to_mathml(latex, display=True).split())


def test_an_index_stands_beside_its_letter_under_an_accent():
    for latex in (r"\tilde W_{i + 1}", r"\hat\Sigma_k", r"\widehat{W}_k", r"\bar{x}_n"):
        assert "munderover" not in to_mathml(latex, display=True)
        assert "<msub>" in to_mathml(latex, display=True)


def test_sizes_without_a_side_are_kept_on_parentheses():
    assert to_mathml(r"\Big( x \Big)^2 \big\{ y \big\}", display=True).count("minsize") == 4
