"""
Templates of a destination's file: texts with places for values.

``{name}`` stands for a value of the request, and ``${NAME}`` for a secret; all are
filled in at once, so that no value is taken for a place. A value of a user is always a
whole text: within one, what is in it could get out of its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Values that are made here, so that they may stand within a text.
MADE = (
    "use_case",
    "audience",
    "as_of",
    "action",
    "key",
    "user_key",
    "chosen_micros",
    "chosen_s",
)
_PLACEHOLDER = re.compile(r"(\$?)\{(\w+)\}")
# A brace that is written twice is a brace.
_PART = re.compile(r"\{\{|\}\}|\$?\{\w+\}|[{}]")


def filled(template: Any, values: Mapping[str, object]) -> Any:
    """
    Return a template with its values; a text that is one place keeps their type.

    Args:
        values: By the names of places, of a secret's with ``$`` before it.

    Raises:
        ValueError: A place has no value here, a user's value is within a text, or a
            brace belongs to no place, or is in the name of an entry.
    """
    if isinstance(template, Mapping):
        for key in template:
            if re.search("[{}]", key):
                raise ValueError(
                    f"the entry {key!r} has a brace in its name, and only values are "
                    "filled in. Name the entry as the receiver does"
                )
        return {key: filled(part, values) for key, part in template.items()}
    if isinstance(template, list):
        return [filled(part, values) for part in template]
    if not isinstance(template, str):
        return template
    placeholder = _PLACEHOLDER.fullmatch(template)
    if placeholder:
        return _value(placeholder, values)
    return _PART.sub(lambda part: _text(part[0], template, values), template)


def concealed(words: str, secrets: Iterable[str]) -> str:
    """Return words without secrets."""
    for secret in secrets:
        words = words.replace(secret, "(a secret)")
    return words


def secrets_in(template: Any) -> set[str]:
    names = set()
    for text in _texts(template):
        for part in _PART.findall(text):
            if part.startswith("$"):
                names.add(part[2:-1])
    return names


def values_in(template: Any) -> set[str]:
    names = set()
    for text in _texts(template):
        for part in _PART.findall(text):
            if _PLACEHOLDER.fullmatch(part) and not part.startswith("$"):
                names.add(part[1:-1])
    return names


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, Mapping):
        template = list(template.values())
    if isinstance(template, list):
        for part in template:
            yield from _texts(part)
    if isinstance(template, str):
        yield template


def _value(placeholder: re.Match[str], values: Mapping[str, object]) -> object:
    name = placeholder[1] + placeholder[2]
    if name not in values:
        raise ValueError(f"{placeholder[0]} is not known here; use {', '.join(values)}")
    return values[name]


def _text(part: str, template: str, values: Mapping[str, object]) -> str:
    """Return what stands for a part of a longer text."""
    if part in {"{{", "}}"}:
        return part[0]
    placeholder = _PLACEHOLDER.fullmatch(part)
    if placeholder is None:
        raise ValueError(
            f"{template!r} has a brace that belongs to no {{placeholder}}. Correct the "
            "placeholder, or write the brace twice to send it"
        )
    value = _value(placeholder, values)
    if not placeholder[1] and placeholder[2] not in MADE:
        raise ValueError(
            f"{template!r} has {part} within a text, where a user's value could change "
            "the text's meaning. Give it an entry of its own"
        )
    return str(value)
