"""The library's public names as they stand in its source: signatures in the author's words, docstrings, aliases."""

import ast
import importlib
import inspect
import pkgutil
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jaxlib_methods

__all__ = ["Entry", "Module", "full_names", "group_modules", "read_module"]


class Entry(NamedTuple):
    """A public name; `parameters` is None for what is not called, `returns` is the value of a constant."""

    full_name: str
    kind: str
    parameters: list[str] | None
    returns: str
    doc: str
    members: list["Entry"]

    @property
    def name(self) -> str:
        """The last part of the full name."""
        return self.full_name.rpartition(".")[2]


class Module(NamedTuple):
    """A module with its public entries, and the named types that its signatures use."""

    name: str
    doc: str
    aliases: dict[str, str]
    entries: list[Entry]


@cache
def group_modules(group: str) -> list[Module]:
    """The modules of a group that define names of the group's public interface."""
    package = importlib.import_module(f"jaxlib_methods.{group}")
    names = sorted(found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."))
    return [module for module in map(read_module, names) if module.entries]


@cache
def full_names() -> dict[str, str]:
    """The full name of each public name, by its last part and by group and last part."""
    names = {}
    for group in jaxlib_methods.__all__:
        for entry in (entry for module in group_modules(group) for entry in module.entries):
            names.setdefault(entry.name, entry.full_name)
            names[f"{group}.{entry.name}"] = entry.full_name
    return names


@cache
def read_module(name: str) -> Module:
    """Reads a module of the library; its entries are those of `__all__`, if its group exports at least one of them.

    Raises:
      ImportError: if there is none.
    """
    module = importlib.import_module(name)
    source = Path(str(module.__file__)).read_text()
    group = ".".join(name.split(".")[:2])
    exported, public = set(importlib.import_module(group).__all__), set(getattr(module, "__all__", ()))
    reader = _Reader(source)
    entries = []
    if exported & public & set(reader.definitions):
        for item, node in reader.definitions.items():
            if item in public:
                entries.append(reader.entry(f"{group if item in exported else name}.{item}", node))
    return Module(name, inspect.getdoc(module) or "", reader.aliases(entries), entries)


class _Reader:
    """Reads the definitions of one source text."""

    def __init__(self, source: str):
        """Parses the source and lists its top-level definitions in order."""
        self.source = source
        self.body = ast.parse(source).body
        self.definitions: dict[str, ast.stmt] = {}
        for node in self.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.definitions.setdefault(node.name, node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.definitions.setdefault(node.targets[0].id, node)

    def text(self, node: ast.AST | None) -> str:
        """The source of a node on one line."""
        return " ".join((ast.get_source_segment(self.source, node) or "").split()) if node is not None else ""

    def entry(self, full_name: str, node: ast.stmt) -> Entry:
        """The entry of a function, class or constant."""
        if isinstance(node, ast.FunctionDef):
            return Entry(full_name, "function", self._parameters(node), self.text(node.returns), _doc(node), [])
        if isinstance(node, ast.ClassDef):
            return self._class(full_name, node)
        assert isinstance(node, ast.Assign)
        after = self.body[self.body.index(node) + 1 :][:1]
        is_note = after and isinstance(after[0], ast.Expr) and isinstance(after[0].value, ast.Constant)
        doc = inspect.cleandoc(str(after[0].value.value)) if is_note else ""  # pyright: ignore
        return Entry(full_name, "data", None, self.text(node.value), doc, [])

    def _class(self, full_name: str, node: ast.ClassDef) -> Entry:
        methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        if "__init__" in methods:
            parameters = self._parameters(methods["__init__"])
        else:
            parameters = [self.text(field) for field in fields] or None
        members = []
        for name, method in methods.items():
            if not name.startswith("_"):
                is_property = any(self.text(decorator) == "property" for decorator in method.decorator_list)
                kind = "property" if is_property else "method"
                arguments = None if is_property else self._parameters(method)
                members.append(
                    Entry(f"{full_name}.{name}", kind, arguments, self.text(method.returns), _doc(method), [])
                )
        return Entry(full_name, "class", parameters, "", _doc(node), members)

    def _parameters(self, node: ast.FunctionDef) -> list[str]:
        """`name: annotation = default` of each parameter but self, with the marks `/` and `*`."""
        given = node.args
        positional = [*given.posonlyargs, *given.args]
        defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
        words = [self._parameter(*pair) for pair in zip(positional, defaults, strict=True)]
        if given.posonlyargs:
            words.insert(len(given.posonlyargs), "/")
        if given.vararg or given.kwonlyargs:
            words.append(f"*{self.text(given.vararg)}")
        words += [self._parameter(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
        words += [f"**{self.text(given.kwarg)}"] if given.kwarg else []
        return words[1:] if words[:1] in (["self"], ["cls"]) else words

    def _parameter(self, argument: ast.arg, default: ast.expr | None) -> str:
        equals = " = " if argument.annotation else "="
        return self.text(argument) + (f"{equals}{self.text(default)}" if default is not None else "")

    def aliases(self, entries: list[Entry]) -> dict[str, str]:
        """The named types in the signatures, with the formulas that this module, or one it imports them from, gives."""
        signatures = " ".join(text for entry in entries for text in [*(entry.parameters or []), entry.returns])
        words = set(signatures.replace("[", " ").replace("]", " ").replace(",", " ").split())
        found = {}
        for node in self.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxlib_methods."):
                home = importlib.import_module(str(node.module))
                reader = _Reader(Path(str(home.__file__)).read_text())
                found |= {a.name: reader.formula(a.name) for a in node.names if a.name in words}
        found |= {name: self.formula(name) for name in self.definitions if name in words}
        return {name: formula for name, formula in found.items() if formula}

    def formula(self, name: str) -> str:
        """The right-hand side of `name = Type[...]`, empty for anything else."""
        node = self.definitions.get(name)
        is_type = isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp)
        return self.text(node.value) if is_type and name[0].isupper() and not name.isupper() else ""  # pyright: ignore


def _doc(node: ast.FunctionDef | ast.ClassDef) -> str:
    return ast.get_docstring(node) or ""
