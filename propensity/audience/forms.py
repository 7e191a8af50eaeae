"""Where an answer says whom a receiver rejects: [answer] of a destination's file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from propensity.audience.destination import Sent
from propensity.audience.spelling import plain
from propensity.pages.words import plural


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
        shown: Callable[[str], str],
        is_removal: bool,
    ) -> Sent:
        """
        Return what an answer says of the users of a request.

        Args:
            users: Keys of members, by ``name_of`` what the answer names them by.
                Several may have one address.
            shown: Returns a receiver's words as a table may have them.
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
        strangers = 0
        for entry in entries:
            reason = self._reason(entry, shown)
            for name in self._names(entry):
                if name not in users:
                    strangers += 1
                rejected |= dict.fromkeys(users.get(name, ()), reason)
        self._check_taken(content, sum(map(len, users.values())) - len(rejected))
        if strangers and not self.taken and (is_removal or not rejected):
            raise ValueError("nobody knows who was rejected")
        note = None
        if strangers:
            users_of_others = plural(strangers, "user")
            note = f"the answer also rejects {users_of_others} not in the request"
        return Sent(rejected, note=note)

    def _names(self, entry: object) -> list[str]:
        """Return what an entry names users by."""
        names = _at(entry, self.user) if isinstance(entry, Mapping) else entry
        if not isinstance(names, list):
            names = [names]
        if not names or None in names:
            raise ValueError("an entry names nobody")
        return [self.name_of(name) for name in names]

    def _reason(self, entry: object, shown: Callable[[str], str]) -> str:
        """Return why an entry's users are rejected, as a table may have it."""
        words = _at(entry, self.reason) if isinstance(entry, Mapping) else None
        reason = shown(str(words)) if words else ""
        return reason if reason else "rejected"

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
