"""
What is sent: templates of a destination's file, filled with values of a user.

``{name}`` stands for a value of the request, and ``${NAME}`` for a secret; all are
filled in at once, so that no value is taken for a place. A value of a user is always a
whole text: within one, what is in it could get out of its place.

A person has one spelling for the draw of control groups, and one for each receiver. The
draw's is the coarsest, so that people who are one to any receiver are one to it;
``audience_people.sql`` has the same form. A telephone number stays as it is written.

Source:
    How Google normalises addresses of Gmail:
    https://developers.google.com/data-manager/api/devguides/concepts/formatting
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from propensity.audience.destinations.addresses import bare

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
_GMAIL = frozenset({"gmail.com", "googlemail.com"})


def filled(template: Any, values: Mapping[str, object]) -> Any:
    """
    Return a template with its values; a text that is one place keeps their type.

    They are by the names of places, of a secret's with ``$`` before it.
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
    for secret in secrets:
        words = words.replace(secret, "(a secret)")
    return words


def secrets_in(template: Any) -> set[str]:
    return {match[2] for match in _placeholders(template) if match[1]}


def values_in(template: Any) -> set[str]:
    return {match[2] for match in _placeholders(template) if not match[1]}


def _placeholders(template: Any) -> Iterator[re.Match[str]]:
    for text in texts_of(template):
        for part in _PART.findall(text):
            match = _PLACEHOLDER.fullmatch(part)
            if match:
                yield match


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


# -- values of an audience's SQL ------------------------------------------------------


def of_json(text: str) -> dict[str, object]:
    """Return the values of a JSON object; a number that no float holds is a Decimal."""
    values: dict[str, object] = json.loads(text, parse_float=_exact)
    return values


def _exact(text: str) -> float | Decimal:
    number = float(text)
    exact = Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    if isinstance(value, str):
        yield value


def known_as(value: object) -> str:
    """
    Return what a receiver knows a person by, as most receivers compare it.

    A customer number may be a FLOAT64 in one table, and an integer or a text elsewhere.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip().lower()


def coarsest(value: object) -> str:
    """Return the form of the draw, which is also Google's form of an address."""
    text = known_as(value)
    if "@" in text:
        text = bare(text)
    user, at, host = text.partition("@")
    if host in _GMAIL:
        user = user.partition("+")[0].replace(".", "")
    return f"{user}{at}{host}"
