"""Values from JSON or the command line → fields of frozen dataclasses, by their annotated types."""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

D = TypeVar("D")


def shaped(values: Any, kind: type[D], where: str) -> D:
    """A dataclass of this kind from a dict. Raises ValueError naming `where`, the key and the nearest known key."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object with the fields of {kind.__name__}, got {values!r}")
    hints = _fields(kind)
    for key in values:
        if key not in hints:
            raise ValueError(unknown(where, key, hints))
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)  # type: ignore[arg-type]
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    if missing := [name for name in required if name not in values]:
        raise ValueError(f"{where}: {', '.join(missing)} missing")
    return kind(**{key: as_type(value, hints[key], f"{where}: {key}") for key, value in values.items()})


def parsed(target: D, key: str, text: str) -> D:
    """The dataclass with the field `key` (dots reach into nested ones) read from text, checked like JSON."""
    name, _, rest = key.partition(".")
    hints = _fields(type(target))
    if name not in hints:
        raise ValueError(unknown("recipe", name, hints))
    if rest:
        inner = getattr(target, name)
        if not dataclasses.is_dataclass(inner):
            raise ValueError(f"recipe: {name} has no fields, it is {inner!r}")
        value: Any = parsed(inner, rest, text)
    else:
        value = as_type(_read(text, hints[name]), hints[name], f"recipe: {name}")
    return dataclasses.replace(target, **{name: value})  # type: ignore[type-var]


def unknown(where: str, key: str, known: Iterable[str]) -> str:
    """The message for a key that is not there."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
    return f"{where}: unknown {key!r}{hint}"


def as_type(value: Any, hint: Any, where: str) -> Any:
    """The value as the annotated type; integers may stand for floats, lists for tuples, nothing else is bent."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _as_tuple(value, arguments, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else shaped(value, hint, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where}: {value!r} is not {_said(hint)}")
    return value


def _as_tuple(value: Any, hints: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: {value!r} is not a list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise ValueError(f"{where}: {list(value)} has {len(value)} values, {len(hints)} are needed")
    return tuple(as_type(item, hint, where) for item, hint in zip(value, hints, strict=True))


def _read(text: str, hint: Any) -> Any:
    """Text of a setting as JSON would say it: bare strings, "160,96" and "True" are allowed."""
    if hint is str:
        return text
    if typing.get_origin(hint) is tuple and not text.startswith("["):
        text = f"[{text.rstrip(',')}]"
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text


def _fields(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _said(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(hint, str(hint))
