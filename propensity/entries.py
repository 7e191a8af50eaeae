"""
Entries of a TOML file, read as a type by msgspec, with errors in plain words.

msgspec names the first entry at fault, with a pattern or a type of Python; here a
person reads which entry it is, what it says, and what it may say.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

import msgspec
from msgspec import inspect

from propensity.suggestions import instead

_AT = re.compile(
    r"(?P<what>.*?)(?: - at `(?P<key>key` in `)?\$\.?(?P<path>.*)`)?", re.S
)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_CHOICE = re.compile(r"Invalid enum value '?(.*?)'?")
_BOUND = re.compile(r"Expected `\w+` (<|>)(=?) (\S+)")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_TYPES = {
    "array": "a list",
    "bool": "true or false",
    "date": "a date",
    "float": "a number",
    "int": "a whole number",
    "object": "a table",
    "str": "a text",
}


def explain(error: ValueError, entries: Mapping[str, object], kind: type[Any]) -> str:
    """
    Return in plain words why a TOML file cannot be read as a type.

    Args:
        error: Of ``tomllib``, or of ``msgspec.convert``.
        entries: What was converted; empty where the file is not TOML.
        kind: The type.
    """
    if isinstance(error, msgspec.ValidationError):
        return _entry_at_fault(str(error), entries, kind)
    if isinstance(error, UnicodeDecodeError):
        return "the file is not in UTF-8"
    if not isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    position = re.search(r"\(at (.*)\)", str(error))
    where = f" at {position[1]}" if position else ""
    return (
        f"this is not TOML{where}: look for a missing quotation mark, bracket or =, or "
        "an entry that is there twice"
    )


def _entry_at_fault(text: str, entries: Mapping[str, object], kind: type[Any]) -> str:
    match = _AT.fullmatch(text)
    assert match is not None
    what = match["what"]
    path = match["path"] if match["path"] else ""
    if match["key"]:
        path += "[...]"
    while "[...]" in path:
        table, _, below = path.partition("[...]")
        path = _first_at_fault(text, entries, kind, table) + below
    value, declared, allowed = _at(path, entries, kind)
    missing = _MISSING.fullmatch(what)
    if missing:
        return f"the entry {_joined(path, missing[1])} is missing"
    unknown = _UNKNOWN.fullmatch(what)
    if unknown:
        names = [each.encode_name for each in getattr(declared, "fields", ())]
        advice = instead(unknown[1], names, kind="Entries")
        return f"unknown entry {_joined(path, unknown[1])}. {advice}"
    if match["key"]:
        rule = "use 64 letters, digits and underscores at most"
        return f"{path} is not a valid name: {rule}"
    if _CHOICE.fullmatch(what):
        choices = ", ".join(map(str, getattr(declared, "values", ())))
        return f"{path}: there is no {value}. Use one of {choices}"
    return f"{path} {_value_at_fault(what, value, allowed)}"


def _value_at_fault(what: str, value: Any, allowed: str) -> str:
    """Return the fault of a value, to follow its path."""
    bound = _BOUND.match(what)
    if bound:
        side = {"<": "less", ">": "more"}[bound[1]]
        limit = f"{bound[3]} or {side}" if bound[2] else f"{side} than {bound[3]}"
        return f"is {value}; it must be {limit}"
    wrong = _TYPE.match(what)
    if wrong:
        # TOML has no empty value: an entry may be left out.
        kinds = wrong[1].replace(" | null", "").split(" | ")
        wanted = " or ".join(_TYPES.get(kind, kind) for kind in kinds)
        text = str(value)
        advice = f"; use {allowed}" if allowed else ""
        if isinstance(value, str):
            text = f'the text "{value}"'
        return f"must be {wanted}; it is {text}{advice}"
    if what.endswith("of length >= 1"):
        return "is empty; name one or more"
    return f"is {value!r}; use {allowed if allowed else 'another value'}"


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _first_at_fault(
    text: str, entries: Mapping[str, object], kind: type[Any], table: str
) -> str:
    """Return the path of the entry of a table that msgspec complains about."""
    values, *_ = _at(table, entries, kind)
    if not isinstance(values, Mapping):
        return table
    *outer, last = table.split(".")
    # One copy for all: a file may have thousands of entries.
    changed: Any = copy.deepcopy(entries)
    parent = reduce(getitem, outer, changed)
    for key, value in values.items():
        # The table keeps this entry alone, so that the fault must be its own.
        parent[last] = {key: value}
        try:
            msgspec.convert(changed, kind)
        except msgspec.ValidationError as error:
            if str(error) == text:
                return f"{table}.{key}"
    return table


def _at(
    path: str, entries: Mapping[str, object], kind: type[Any]
) -> tuple[Any, Any, str]:
    """Return the value at a path, its declared type, and what it may be in words."""
    value: Any = entries
    declared: Any = inspect.type_info(kind)
    allowed = ""
    for name, index in re.findall(r"(\[[^\d\]]+\]|[^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[int(index) if index else name]
        except (KeyError, IndexError, TypeError):
            value = None
        if index:
            declared = getattr(declared, "item_type", None)
        elif hasattr(declared, "fields"):
            kinds = {each.encode_name: each.type for each in declared.fields}
            declared = kinds.get(name)
        else:
            declared = getattr(declared, "value_type", None)
        if isinstance(declared, inspect.UnionType):
            # The described type is meant; the other says that an entry may be empty.
            described = (
                kind
                for kind in declared.types
                if hasattr(kind, "type") or hasattr(kind, "fields")
            )
            declared = next(described, declared)
        allowed = ""
        if isinstance(declared, inspect.Metadata):
            if declared.extra_json_schema is not None:
                allowed = declared.extra_json_schema.get("description", "")
            declared = declared.type
    return value, declared, allowed
