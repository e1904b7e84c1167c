"""Directives that show the library's docstrings.

`{api} module`        a module's docstring, and a line for each of its public names that leads to the name's entry
`{api-group} group`   the entries of all public names of a group; the pages `api/<group>.md`, one for each group of the
                      library, hold nothing else and are written before the build
"""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

import jaxlib_methods
from extensions.docstrings import docstring_nodes, inline
from extensions.reference import Entry, Module, full_names, group_modules, read_module


def setup(app):
    """Registers the directives."""
    app.add_directive("api", Api)
    app.add_directive("api-group", ApiGroup)
    app.connect("builder-inited", _write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(app) -> None:
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    groups = [group for group in jaxlib_methods.__all__ if group_modules(group)]
    for stale in set(folder.glob("*.md")) - {folder / f"{group}.md" for group in groups}:
        stale.unlink()
    for group in groups:
        page, text = folder / f"{group}.md", f"# jaxlib_methods.{group}\n\n```{{api-group}} {group}\n```\n"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


class Api(SphinxDirective):
    """A module, or a package with all its modules, on a method's page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The docstring and the list of public names."""
        self.env.note_reread()
        name = self.arguments[0]
        try:
            module = read_module(name)
        except ImportError as error:
            raise self.error(f"api: {error}") from error
        inside = [m for m in group_modules(name.split(".")[1]) if f"{m.name}.".startswith(f"{name}.")]
        if not inside:
            raise self.error(f"api: {name} has no public names")
        section = _section(name, nodes.literal("", name))
        section += docstring_nodes(module.doc, _link)
        items = [_summary(entry) for each in inside for entry in each.entries]
        section += nodes.definition_list("", *items, classes=["api-names"])
        return [section]


def _summary(entry: Entry) -> nodes.definition_list_item:
    first_line = entry.doc.split("\n")[0].split(" Args")[0]
    summary = nodes.paragraph("", "", *inline(first_line, _link))
    return nodes.definition_list_item("", nodes.term("", "", _link(entry.name)), nodes.definition("", summary))


class ApiGroup(SphinxDirective):
    """All entries of a group."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One section for each module."""
        self.env.note_reread()
        group = self.arguments[0]
        result = docstring_nodes(read_module(f"jaxlib_methods.{group}").doc, _link)
        for module in group_modules(group):
            result.append(self._module(module, module.name.removeprefix(f"jaxlib_methods.{group}.")))
        return result

    def _module(self, module: Module, title: str) -> nodes.section:
        section = _section(module.name, nodes.Text(title))
        section += docstring_nodes(module.doc, _link)
        if module.aliases:
            lines = "\n".join(f"{name} = {formula}" for name, formula in module.aliases.items())
            section += nodes.paragraph("", "In the signatures:")
            section += nodes.literal_block(lines, lines, language="python")
        for entry in module.entries:
            section += self._entry(entry)
            if (home := f"{module.name}.{entry.name}") != entry.full_name:
                self.env.domains.python_domain.note_object(home, entry.kind, entry.full_name, aliased=True)
        return section

    def _entry(self, entry: Entry) -> addnodes.desc:
        owner = entry.full_name.removesuffix(f".{entry.name}")
        is_member = entry.kind in ("method", "property")
        line = addnodes.desc_signature("", "", ids=[entry.full_name], module=owner, fullname=entry.name)
        if entry.kind in ("class", "property"):
            line += addnodes.desc_annotation("", f"{entry.kind} ")
        if not is_member:
            line += addnodes.desc_addname("", f"{owner}.")
        line += addnodes.desc_name("", entry.name)
        if entry.parameters is not None:
            several = len(entry.parameters) > 1
            parameters = [_parameter(text) for text in entry.parameters]
            line += addnodes.desc_parameterlist("", "", *parameters, multi_line_parameter_list=several)
        if entry.kind == "data":
            line += addnodes.desc_annotation("", f" = {entry.returns}")
        elif entry.returns:
            line += addnodes.desc_returns("", entry.returns)
        self.env.domains.python_domain.note_object(entry.full_name, entry.kind, entry.full_name, location=line)
        content = addnodes.desc_content("", *docstring_nodes(entry.doc, _link), *map(self._entry, entry.members))
        return addnodes.desc("", line, content, domain="py", objtype=entry.kind, classes=["py"])


def _parameter(text: str) -> addnodes.desc_parameter:
    name, colon, rest = text.partition(":")
    return addnodes.desc_parameter("", "", addnodes.desc_sig_name("", name), nodes.Text(colon + rest))


def _section(name: str, title: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title("", "", title), ids=[nodes.make_id(name)])


def _link(name: str) -> nodes.Node:
    """A name in code; one of the library's, written as in its docstrings, leads to its entry."""
    code = nodes.literal("", name)
    target = full_names().get(name.removeprefix("jaxlib_methods.").removesuffix("()"))
    if target is None:
        return code
    return addnodes.pending_xref("", code, refdomain="py", reftype="obj", reftarget=target, refwarn=True)
