"""
A receiver's words without what it was sent: secrets, ids, addresses, further values.

Receivers repeat what they were sent, and spell it as JSON, HTML, an address or base64
do, or with signs of Unicode in another form. So the words are read as each of these,
again and again, until nothing changes, and each time what was sent is removed.
"""

from __future__ import annotations

import base64
import contextlib
import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from urllib.parse import unquote

from propensity.pages.words import cleaned

REASON_CHARACTERS = 200
# What is longer, or encoded more often, is no reason that a person reads.
LONGEST_CHARACTERS = 16_384
_MOST_READINGS = 20
TOO_LONG = "(a long text)"
TOO_ENCODED = "(a text that is encoded several times)"
REPEATED = "(a text that repeats in base64 what was sent)"
# They stand for what was removed while the words are read, as no language has them.
_SECRET = "\ue000"
_VALUE = "\ue001"
_ADDRESS = "\ue002"
_NAMES = {_SECRET: "(a secret)", _VALUE: "(a value)", _ADDRESS: "(an address)"}
# Shorter ones are parts of other words, so they are removed as whole words alone.
_SHORT = 4
_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_JSON_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORD = re.compile(r"[^\s\"'<>(),;:=]+")
_AT = re.compile(r"\s?[(\[{]\s?at\s?[)\]}]\s?", re.IGNORECASE)
# A telephone number, and what may stand between its digits.
_TELEPHONE = re.compile(r"\+?[0-9][0-9 ()./-]{5,}[0-9]")
_NO_DIGIT = re.compile("[^0-9]")
_BETWEEN = r"[ ()./\u2010-\u2015-]*"
_ALPHABETS = (
    (re.compile(r"[A-Za-z0-9+/]{3,}"), b"+/"),
    (re.compile(r"[A-Za-z0-9_-]{3,}"), b"-_"),
)


def concealed(words: str, secrets: Iterable[str]) -> str:
    """Return a message of our own without secrets."""
    for secret in secrets:
        words = words.replace(secret, "(a secret)")
    return words


@dataclass(frozen=True)
class Redaction:
    """
    Removes from words what was sent.

    Attributes:
        secrets: Of the destination.
        values: Of the request's users; read when the first words come.
    """

    secrets: Iterable[str]
    values: Iterable[str]

    @cached_property
    def _marks(self) -> dict[str, str]:
        """What stands for each form of a secret or a value, the longest form first."""
        marks = dict[str, str]()
        for value in self.values:
            marks |= dict.fromkeys(_forms(value), _VALUE)
        for secret in self.secrets:
            marks |= dict.fromkeys(_forms(secret), _SECRET)
        # A value may be a part of a longer one.
        longest_first = sorted(marks, key=len, reverse=True)
        return {form: marks[form] for form in longest_first}

    @cached_property
    def _telephones(self) -> dict[str, str]:
        """What stands for each telephone number, by its digits."""
        telephones = dict[str, str]()
        for form, mark in self._marks.items():
            if _TELEPHONE.fullmatch(form):
                telephones[_NO_DIGIT.sub("", form)] = mark
        return telephones

    def excerpt(self, words: str) -> str:
        """Return the beginning of words as one line, without what was sent."""
        if len(words) > LONGEST_CHARACTERS:
            return TOO_LONG
        text = _readings(_unmarked(words), self._removed)[-1]
        if self._repeats_in_base64(text):
            return REPEATED
        text = _WORD.sub(_without_address, text)
        # Neither tables nor terminals take all characters of a receiver's words.
        line = " ".join(str(cleaned(text)).split())
        for mark, name in _NAMES.items():
            line = line.replace(mark, name)
        return line[:REASON_CHARACTERS]

    def _removed(self, text: str) -> str:
        """Return a text with marks instead of what was sent, however capitalised."""
        every_digit = _NO_DIGIT.sub("", text)
        for digits, mark in self._telephones.items():
            if digits in every_digit:
                grouped = _BETWEEN.join(digits)
                text = re.sub(rf"(?<![0-9])[+]?{grouped}(?![0-9])", mark, text)
        small = text.lower()
        for form, mark in self._marks.items():
            if form not in text and form.lower() not in small:
                continue
            pattern = re.escape(form)
            if len(form) < _SHORT:
                pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
            text = re.sub(pattern, mark, text, flags=re.IGNORECASE)
            small = text.lower()
        return text

    def _repeats_in_base64(self, text: str) -> bool:
        decoded = list[str]()
        for alphabet, last_two in _ALPHABETS:
            for word in alphabet.findall(text):
                padded = word + "=" * (-len(word) % 4)
                with contextlib.suppress(ValueError):
                    data = base64.b64decode(padded, last_two)
                    decoded.append(data.decode(errors="replace"))
        if not self._marks.keys().isdisjoint(decoded):
            return True
        plain = _readings("\n".join(decoded), str)[-1]
        return any(len(form) >= _SHORT and form in plain for form in self._marks)


def _unmarked(words: str) -> str:
    for mark in _NAMES:
        words = words.replace(mark, "\N{REPLACEMENT CHARACTER}")
    return words


def _forms(value: str) -> list[str]:
    """Return a value as words may have it once they are read as other spellings."""
    forms = []
    for reading in _readings(_unmarked(value).strip(), str):
        if reading.strip():
            # A form of a web page has a plus for a blank.
            forms += [reading, reading.replace(" ", "+")]
    return forms


def _readings(text: str, read: Callable[[str], str]) -> list[str]:
    """
    Return a text as it is, then as it is read from other spellings.

    Args:
        read: Changes each reading.
    """
    readings = [read(text)]
    unchanged = 0
    for unescaped in islice(cycle(_SPELLINGS), _MOST_READINGS):
        plain = unescaped(readings[-1])
        if plain != readings[-1]:
            readings.append(read(plain))
            unchanged = 0
            continue
        unchanged += 1
        if unchanged == len(_SPELLINGS):
            return readings
    readings.append(TOO_ENCODED)
    return readings


def _of_json(text: str) -> str:
    """Return a text without the escapes of JSON."""
    text = _JSON_ESCAPE.sub(_character, text)
    # Two escapes may be the halves of one character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _with_at(text: str) -> str:
    """Return a text with the sign of addresses where it is written out."""
    return _AT.sub("@", text)


def _composed(text: str) -> str:
    """Return a text with the usual sign where it may be written as several."""
    return unicodedata.normalize("NFKC", text)


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _JSON_ESCAPES.get(escape[2], escape[2])


def _without_address(word: re.Match[str]) -> str:
    return _ADDRESS if re.search(".@.", word[0]) else word[0]


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    _of_json,
    unquote,
    html.unescape,
    _composed,
    _with_at,
)
