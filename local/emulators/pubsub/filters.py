"""x"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from local.emulators.pubsub.messages import RefusedError

MAX_FILTER_BYTES = 256
Matches = Callable[[Mapping[str, str]], bool]


class Filter:
    """
    A subscription's filter, read from left to right.

    ``attributes:KEY``, ``attributes.KEY = "TEXT"``, ``hasPrefix(attributes.KEY, "T")``,
    ``NOT`` or ``-``, ``AND``, ``OR``, and parentheses, without which ``AND`` and ``OR``
    do not mix. ``!=`` is not read: ``NOT`` says what is meant of messages without KEY.
    """

    _STRING = r'"(?:[^"\\]|\\.)*"'
    _KEY = rf"[\w-]+|{_STRING}"
    _PRESENT = rf"attributes\s*:\s*({_KEY})"
    _EQUAL = rf"attributes\s*\.\s*({_KEY})\s*=\s*({_STRING})"
    _PREFIX = rf"hasPrefix\s*\(\s*attributes\s*\.\s*({_KEY})\s*,\s*({_STRING})\s*\)"

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    @classmethod
    def of(cls, text: str) -> Matches:
        """
        Return what tells whether a message's attributes match.

        Raises:
            RefusedError: The filter has another form, or is too long.
        """
        if not text.strip():
            return lambda _: True
        reader = cls(text)
        matches = reader._expression()
        if reader._place < len(text) or len(text.encode()) > MAX_FILTER_BYTES:
            reader._fail()
        return matches

    def _expression(self) -> Matches:
        terms = [self._term()]
        operator, *_ = self._next(r"(AND|OR)\b") or [""]
        while operator:
            terms.append(self._term())
            if not self._next(rf"({operator})\b"):
                break
        combine = any if operator == "OR" else all
        return lambda attributes: combine(matches(attributes) for matches in terms)

    def _term(self) -> Matches:
        if self._next(r"(NOT\b|-)"):
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if self._next(r"(\()"):
            inner = self._expression()
            return inner if self._next(r"(\))") else self._fail()
        if found := self._next(self._PRESENT):
            [key] = found
            return lambda attributes: key in attributes
        if found := self._next(self._EQUAL):
            key, value = found
            return lambda attributes: key in attributes and attributes[key] == value
        if found := self._next(self._PREFIX):
            key, value = found
            return lambda attributes: (
                key in attributes and attributes[key].startswith(value)
            )
        return self._fail()

    def _next(self, pattern: str) -> list[str]:
        """Read on over what has this form, if it has, and return its parts."""
        whole = re.compile(rf"\s*{pattern}\s*", re.ASCII)
        if not (match := whole.match(self._text, self._place)):
            return []
        self._place = match.end()
        try:
            return [json.loads(one) if one[0] == '"' else one for one in match.groups()]
        except ValueError:
            self._fail()

    def _fail(self) -> NoReturn:
        rest = self._text[self._place :]
        raise RefusedError(f"The filter {self._text!r} cannot be read from {rest!r} on")
