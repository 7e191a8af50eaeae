"""
The form of a receiver's answer: whom it rejects, and why.

[answer] of a destination's file says where an answer has them. Its words may name
somebody, in any spelling: so a person reads them at a terminal, and the ledger has
nothing of them but codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import Struct

from propensity.audience.destinations.destination import Sent
from propensity.audience.destinations.values import known_as
from propensity.pages.words import cleaned

# Letters alone: no number is somebody's. A sentence may have a name.
_CODE = re.compile(r"[A-Za-z]+(?:[_.-][A-Za-z]+)*")
_LONGEST_CODE = 64
_LETTERS = re.compile("[a-z]+")
# A terminal has so many of a receiver's words.
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Codes:
    """
    Tells codes such as ``invalid_address`` from words that may name somebody.

    What was sent, of users and secrets, is read when the first words come.
    """

    sent: Iterable[str]

    @cached_property
    def _letters(self) -> frozenset[str]:
        letters = set[str]()
        for text in self.sent:
            letters.update(_LETTERS.findall(text.lower()))
        return frozenset(letters)

    def of(self, words: str) -> str:
        """Return words that are a code and name nothing that was sent, or else ""."""
        if len(words) > _LONGEST_CODE or not _CODE.fullmatch(words):
            return ""
        parts = _LETTERS.findall(words.lower())
        return words if self._letters.isdisjoint(parts) else ""


def one_line(words: str) -> str:
    return " ".join(str(cleaned(words)).split())[:SHOWN_CHARACTERS]


class Form(Struct, forbid_unknown_fields=True):
    """
    The form of an answer. A path, such as ``context.ids``, names an entry in entries.

    Attributes:
        rejected: Path of the list of rejected users; empty if there is none.
        user: Path in an entry of the list: of a user, or of a list of users.
        reason: Path in an entry of the list.
        by: What a user is named by: ``user_id``, a column of the audience, or
            ``index``, the place in the request from 0 on.
        taken: Path of the number of users who were taken; empty if there is none.
    """

    rejected: str = ""
    user: str = "user_id"
    reason: str = "reason"
    by: str = "user_id"
    taken: str = ""

    def __post_init__(self) -> None:
        if not (self.rejected or self.taken):
            raise ValueError("[answer] needs rejected, taken, or both")

    def read(
        self,
        text: str,
        users: Mapping[str, Sequence[Sequence[str]]],
        *,
        codes: Codes,
        is_removal: bool,
    ) -> Sent:
        """
        Return what an answer says of the users of a request; or raise ValueError.

        Args:
            users: By what the answer names them, the entries of the request, each
                with the keys of its members. A name of several may mean either.
        """
        try:
            content = json.loads(text)
        except RecursionError:
            raise ValueError("the answer is too deep") from None
        entries = _at(content, self.rejected) if self.rejected else None
        if entries is None:
            entries = []
        if not isinstance(entries, list):
            raise ValueError("rejected users are no list")
        rejected = dict[str, str]()
        unsure = set[str]()
        first_keys = set[str]()
        said = list[str]()
        has_strangers = False
        for entry in entries:
            reason = _at(entry, self.reason) if isinstance(entry, Mapping) else None
            words = str(reason) if reason else ""
            code = codes.of(words)
            for name in self._names(entry):
                named = users.get(name, ())
                if not named:
                    has_strangers = True
                for keys in named:
                    first_keys.add(keys[0])
                    rejected |= dict.fromkeys(keys, code if code else "rejected")
                    if len(named) > 1:
                        unsure.update(keys)
            if words and not code:
                said.append(one_line(words))
        others = sum(map(len, users.values())) - len(first_keys)
        if self.taken and _at(content, self.taken) != others:
            raise ValueError("another number of users was taken")
        if has_strangers and not self.taken and (is_removal or not rejected):
            raise ValueError("nobody knows who was rejected")
        return Sent(rejected, unsure=frozenset(unsure), words=said)

    def _names(self, entry: object) -> list[str]:
        names = _at(entry, self.user) if isinstance(entry, Mapping) else entry
        if not isinstance(names, list):
            names = [names]
        if not names or None in names:
            raise ValueError("an entry names nobody")
        return [self.name_of(name) for name in names]

    def name_of(self, value: object) -> str:
        """Return a user's name; receivers write addresses in small letters."""
        is_exact = self.by in {"user_id", "index"}
        return str(value) if is_exact else known_as(value)


def _at(content: Any, path: str) -> Any:
    """Return the value at a path; None if there is none."""
    for name in path.split("."):
        if content is None:
            return None
        if not isinstance(content, Mapping):
            raise ValueError(f"there is no {path}")
        content = content.get(name)
    return content
