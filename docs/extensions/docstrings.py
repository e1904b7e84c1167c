"""The project's docstrings as document nodes: plain text, `code`, indented equations, Args and the like, doctests.

They are not reStructuredText: |x|, x_i and *args mean what they say.
"""

import re
from collections.abc import Callable

from docutils import nodes

SECTIONS = ("Args", "Returns", "Raises", "Attributes")
ENTRY = re.compile(r"  (\S[^:]*?):(?: (.*))?$")

Link = Callable[[str], nodes.Node]


def docstring_nodes(text: str, link: Link) -> list[nodes.Node]:
    """Parses a docstring whose common indentation is gone; `link` makes the node of a name in backticks."""
    return [_block(lines, link) for lines in _blocks(text.splitlines())]


def inline(text: str, link: Link) -> list[nodes.Node]:
    """Text with its parts in backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    return [link(part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts) if part]


def _blocks(lines: list[str]) -> list[list[str]]:
    """Groups of lines that belong together: a paragraph, an equation, a section, a doctest."""
    blocks: list[list[str]] = [[]]
    kind = None
    for line in lines:
        if not line.strip():
            if kind in ("equation", "section"):
                blocks[-1].append("")
            else:
                kind = None
            continue
        if kind == "doctest" or (kind == "section" and line.startswith("  ")):
            found = kind
        elif line.startswith(">>> "):
            found = "doctest"
        elif line.rstrip(":") in SECTIONS and line.endswith(":"):
            found = "section"
        elif line.startswith("    "):
            found = "equation"
        else:
            found = "text"
        if found != kind or line.rstrip(":") in SECTIONS:
            blocks.append([])
        blocks[-1].append(line)
        kind = found
    return [block for block in blocks if block]


def _block(lines: list[str], link: Link) -> nodes.Node:
    first = lines[0]
    if first.startswith(">>> "):
        return nodes.literal_block("\n".join(lines), "\n".join(lines), language="pycon")
    if first.startswith("    "):
        text = "\n".join(line[4:] for line in lines).rstrip()
        return nodes.literal_block(text, text, language="text", classes=["equation"])
    if first.rstrip(":") in SECTIONS:
        return _section(first.rstrip(":"), lines[1:], link)
    return nodes.paragraph("", "", *inline(" ".join(lines), link))


def _section(title: str, lines: list[str], link: Link) -> nodes.Node:
    """A list with one field: the section's name beside its entries, or beside its text where there are no entries."""
    entries: list[tuple[str, list[str]]] = []
    for line in filter(str.strip, lines):
        entry = ENTRY.match(line) if title != "Returns" else None
        if entry:
            entries.append((entry[1], [entry[2] or ""]))
        elif entries:
            entries[-1][1].append(line.strip())
        else:
            entries.append(("", [line.strip()]))
    body = nodes.field_body()
    if entries and not entries[0][0]:
        body += nodes.paragraph("", "", *inline(" ".join(entries[0][1]), link))
    else:
        for name, text in entries:
            term = nodes.literal("", name) if title != "Raises" else nodes.emphasis("", name)
            body += nodes.paragraph("", "", term, nodes.Text(": "), *inline(" ".join(text), link))
    return nodes.field_list("", nodes.field("", nodes.field_name("", title), body))
