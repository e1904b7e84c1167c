"""Equations as MathML, which browsers set by themselves, without a script; `_static/math.woff` has the characters."""

import re

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

UNSIZED = r"(?<!left)(?<!right)(?<![bB]ig[lr])(?<![bB]igg[lr])"
REPLACED = {  # what docutils lacks or takes otherwise than TeX, by what it has
    r"\\(begin|end)\{(?:align|gather|split)\*?\}": r"\\\1{aligned}",
    r"\\dots[bcim]?\b": r"\\ldots",
    r"\\stackrel\b": r"\\overset",
    r"\\([dt]?frac)\s*(\d)": r"\\\1{\2}",
    r"\\([dt]?frac\{\d\})\s*(\d)": r"\\\1{\2}",
    r"\\(?:bar|dot|hat|overline|tilde|vec|widehat|widetilde)\s*(?:\{[^{}]*\}|\\[A-Za-z]+|\w)": r"{\g<0>{}}",
    r"\\([bB]igg?)(?=[(\[]|\\\{|\\l)": r"\\\1l",
    r"\\([bB]igg?)(?=[)\]]|\\\}|\\r)": r"\\\1r",
    r"\\(?:[bB]igg?m?|mathop|textstyle)\b": "",
    UNSIZED + r"\\langle\b": r"\\text{⟨}",
    UNSIZED + r"\\rangle\b": r"\\text{⟩}",
    UNSIZED + r"\\(?:\||[lr]?Vert\b)": r"\\text{‖}",
}
SPACED = {  # as TeX does: a function stands off its argument, bars stand close, what is not to grow stays
    r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>[(\[{|])": r'<mspace width="0.17em"></mspace>',
    r"<mtext>([⟨⟩‖])</mtext>": r'<mo stretchy="false">\1</mo>',
    r"<mo([^>]*)>([|‖])</mo>": r'<mo\1 lspace="0" rspace="0">\2</mo>',
}

log = logging.getLogger(__name__)


def setup(app):
    """Registers the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def to_mathml(latex: str, *, display: bool) -> str:
    """An equation as a `<math>` element.

    Raises:
      MathError: if it holds a command that docutils does not know.
    """
    return _replaced(latex2mathml.tex2mathml(_replaced(latex, REPLACED), as_block=display), SPACED)


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for pattern, replacement in replacements.items():
        text = re.sub(pattern, replacement, text)
    return text


def _inline(translator, node):
    translator.body.append(_converted(node, display=False))
    raise nodes.SkipNode


def _display(translator, node):
    number = f'<span class="eqno">({node["number"]})</span>' if node["number"] else ""
    translator.body.append(translator.starttag(node, "div", CLASS="math") + number)
    translator.body.append(_converted(node, display=True) + "</div>\n")
    raise nodes.SkipNode


def _converted(node, *, display: bool) -> str:
    try:
        return to_mathml(node.astext(), display=display)
    except MathError as error:
        log.warning("equation %r: %s", node.astext(), error, location=node)
        return ""
