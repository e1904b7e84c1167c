"""An experiment's frozen Config dataclass: typed overrides from the command line, and back from JSON."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from jaxlib_methods.runtime.data import IMAGE_SETS

__all__ = ["UsageError", "choose", "from_json", "override"]


class UsageError(Exception):
    """The command line asks for something that does not exist; one line says what, and the nearest that does."""


def choose(kind: str, given: str, known: Iterable[str]) -> str:
    """Returns `given` if it is known; otherwise raises UsageError with the nearest known name."""
    known = list(known)
    if given in known:
        return given
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0)
    raise UsageError(f"unknown {kind} {given!r}" + "".join(f"; did you mean {name!r}?" for name in nearest))


def override(config: Any, overrides: Mapping[str, str]) -> Any:
    """Returns the config with fields replaced; a dotted name reaches into a nested dataclass.

    Values are read by the field's type: bool, int, float, str, Literal, `T | None` (written `none`) and tuples
    (written with commas). A field of type str named `dataset` takes the names of the image sets.

    Raises:
      UsageError: for an unknown field, a value of another type or outside the choices, or one that Config refuses.
    """
    for name, text in overrides.items():
        config = _override_one(config, name, name.split("."), text)
    return config


def _override_one(config, name, path, text):
    annotations = typing.get_type_hints(type(config))
    outer = "--config." + name.removesuffix(".".join(path))
    field = choose("field", outer + path[0], [outer + known for known in annotations]).removeprefix(outer)
    inner = getattr(config, field)
    removed = len(path) == 1 and text.lower() == "none" and _without_none(annotations[field])[1]
    nested = dataclasses.is_dataclass(inner) and not removed
    if nested != (len(path) > 1):
        kind = "holds the fields " + ", ".join(typing.get_type_hints(type(inner))) if nested else "has no fields"
        raise UsageError(f"--config.{name.removesuffix('.' + '.'.join(path[1:]))} {kind}")
    if nested:
        value = _override_one(inner, name, path[1:], text)
    else:
        value = _parse(f"--config.{name}", annotations[field], text)
        if field == "dataset" and annotations[field] is str:
            choose("data set", value, IMAGE_SETS)
    return _replace(config, {field: value})


def _replace(config, changes):
    try:
        return dataclasses.replace(config, **changes)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _parse(name: str, annotation: Any, text: str) -> Any:
    kind, optional = _without_none(annotation)
    arguments = typing.get_args(kind)
    if optional and text.lower() == "none":
        return None
    if typing.get_origin(kind) is typing.Literal:
        by_text = {str(choice): choice for choice in arguments}
        return by_text[choose(f"value of {name}", text, by_text)]
    if typing.get_origin(kind) is tuple:
        items = [item.strip() for item in text.strip("()[]").split(",") if item.strip()]
        kinds = _entries(arguments, len(items))
        if len(kinds) != len(items):
            raise UsageError(f"{name} must have {len(kinds)} values separated by commas, got {text!r}")
        return tuple(_parse(name, kind, item) for kind, item in zip(kinds, items, strict=True))
    try:
        return _SCALARS[kind](text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name} must be of type {kind.__name__}, got {text!r}") from error


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type itself, and whether it stood in `T | None`."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return annotation, False
    return next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType), True


def _entries(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The types of the entries of `tuple[arguments]`."""
    return arguments[:1] * count if arguments[1:] == (...,) else arguments


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_SCALARS = {bool: lambda text: _BOOLEANS[text.lower()], int: int, float: float, str: str}


def from_json(config_type: type, values: Mapping[str, Any]) -> Any:
    """Rebuilds a config from the JSON of its fields.

    Raises:
      UsageError: if the stored fields are not those of the class.
    """
    annotations = typing.get_type_hints(config_type)
    if set(values) != set(annotations):
        changed = ", ".join(sorted(set(values) ^ set(annotations)))
        raise UsageError(f"the stored configuration does not fit the present Config; they differ in {changed}")
    return config_type(**{name: _rebuild(annotations[name], value) for name, value in values.items()})


def _rebuild(annotation: Any, value: Any) -> Any:
    kind, _ = _without_none(annotation)
    if dataclasses.is_dataclass(kind) and value is not None:
        return from_json(typing.cast(type, kind), value)
    if isinstance(value, list):
        kinds = _entries(typing.get_args(kind), len(value))
        return tuple(_rebuild(kind, item) for kind, item in zip(kinds, value, strict=True))
    return float(value) if kind is float and value is not None else value
