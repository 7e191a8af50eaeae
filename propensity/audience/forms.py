"""
Where an answer says whom a receiver rejects: [answer] of a destination's file.

A receiver's words may name somebody, in any spelling. So a person reads them at a
terminal, and the ledger has nothing of them but codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import Struct

from propensity.audience.destination import Sent
from propensity.audience.spelling import plain
from propensity.pages.words import cleaned, plural

# Letters alone: no number is somebody's. A sentence may have a name.
_CODE = re.compile(r"[A-Za-z]+(?:[_.-][A-Za-z]+)*")
_LONGEST_CODE = 64
_LETTERS = re.compile("[a-z]+")
# A terminal has so many of a receiver's words, of so many answers.
SHOWN_CHARACTERS = 200
SHOWN_ANSWERS = 5


@dataclass(frozen=True)
class Codes:
    """
    Tells codes such as ``invalid_address`` from words that may name somebody.

    Attributes:
        sent: What a request has of its users, and secrets; read when the first words
            come.
    """

    sent: Iterable[str]

    @cached_property
    def _letters(self) -> frozenset[str]:
        found = set[str]()
        for text in self.sent:
            found.update(_LETTERS.findall(text.lower()))
        return frozenset(found)

    def of(self, words: str) -> str:
        """Return words that are a code and name nothing that was sent, or else ""."""
        if len(words) > _LONGEST_CODE or not _CODE.fullmatch(words):
            return ""
        parts = _LETTERS.findall(words.lower())
        return words if self._letters.isdisjoint(parts) else ""


def one_line(words: str) -> str:
    """Return the beginning of words as a terminal can show it."""
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
        users: Mapping[str, Sequence[str]],
        *,
        codes: Codes,
        is_removal: bool,
    ) -> Sent:
        """
        Return what an answer says of the users of a request.

        Args:
            users: Keys of members, by ``name_of`` what the answer names them by.
                Several may have one address.
            is_removal: Whether the users are to be removed.

        Raises:
            ValueError: The answer has another form: it is not known who was rejected.
                A removal may not count as done, where one that it rejects is unknown.
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
        said = dict[str, None]()
        strangers = 0
        for entry in entries:
            words = self._words(entry)
            code = codes.of(words)
            for name in self._names(entry):
                if name not in users:
                    strangers += 1
                reason = code if code else "rejected"
                rejected |= dict.fromkeys(users.get(name, ()), reason)
            if words and not code and len(said) < SHOWN_ANSWERS:
                said[one_line(words)] = None
        self._check_taken(content, sum(map(len, users.values())) - len(rejected))
        if strangers and not self.taken and (is_removal or not rejected):
            raise ValueError("nobody knows who was rejected")
        note = None
        if strangers:
            users_of_others = plural(strangers, "user")
            note = f"the answer also rejects {users_of_others} not in the request"
        return Sent(rejected, note=note, words=list(said))

    def _names(self, entry: object) -> list[str]:
        """Return what an entry names users by."""
        names = _at(entry, self.user) if isinstance(entry, Mapping) else entry
        if not isinstance(names, list):
            names = [names]
        if not names or None in names:
            raise ValueError("an entry names nobody")
        return [self.name_of(name) for name in names]

    def _words(self, entry: object) -> str:
        """Return why an entry's users are rejected, in the receiver's words."""
        words = _at(entry, self.reason) if isinstance(entry, Mapping) else None
        return str(words) if words else ""

    def name_of(self, value: object) -> str:
        """Return a user's name; receivers write addresses in small letters."""
        is_exact = self.by in {"user_id", "index"}
        return str(value) if is_exact else plain(value)

    def _check_taken(self, content: object, expected: int) -> None:
        if self.taken and _at(content, self.taken) != expected:
            raise ValueError("another number of users was taken")


def _at(content: Any, path: str) -> Any:
    """Return the value at a path; None if there is none."""
    for name in path.split("."):
        if content is None:
            return None
        if not isinstance(content, Mapping):
            raise ValueError(f"there is no {path}")
        content = content.get(name)
    return content
