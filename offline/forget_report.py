"""A request to forget users, and its report."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from propensity.errors import RequestError
from propensity.ids import is_encodable

# Values of one array parameter, and their characters: BigQuery's limit for all
# parameters of a statement is 10 MB, and a character may take six bytes of JSON.
AT_ONCE = 10_000
AT_ONCE_CHARACTERS = 1_500_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """The users to forget, and how."""

    user_ids: tuple[str, ...]
    use_case: str = ""
    is_dry: bool = False
    is_suppressing: bool = True
    is_quiet: bool = False

    @property
    def users(self) -> frozenset[str]:
        """The users as a set."""
        return frozenset(self.user_ids)


@dataclass(kw_only=True)
class Place:
    """
    Rows of users in a table, or objects with such rows in a folder.

    ``before`` and ``after`` count them; ``after`` is None without a second search.
    """

    what: str
    name: str
    before: int
    after: int | None = None


@dataclass(kw_only=True)
class Report:
    """
    Rows and objects by place, before and after; what others have to do.

    ``unreadable`` are Parquet files that are none: whom they have cannot be told.
    """

    hashes: list[str]
    use_case: str
    is_dry: bool
    began_at: str
    suppressed: bool = False
    places: list[Place] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    ga4_events: int | None = None
    ga4_statement: str = ""
    run_again_at: str = ""
    bytes_billed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Rows and objects that the second search still found, or could not read."""
        unread = 0 if self.is_dry else len(self.unreadable)
        return sum(place.after or 0 for place in self.places) + unread

    def add_notes(self, *, refresh_s: int, sources: Sequence[str]) -> None:
        """
        Add what others still keep: Google's services, answers, the GA4 export, sources.
        """
        self.notes.append(
            "BigQuery keeps removed rows for its time travel (7 days, 2 at the least) "
            "and 7 days more, the bucket removed files as long as its soft delete "
            "policy says, and Pub/Sub undelivered messages for 7 days. An instance of "
            f"get_proba keeps its answers for {refresh_s} s."
        )
        if self.unreadable:
            self.notes.append(
                "Files that cannot be read as Parquet, so that nobody can tell whom "
                f"they have: {', '.join(sorted(self.unreadable))}. Delete them, or put "
                "whole ones in their place, and run this again."
            )
        if sources:
            self.notes.append(
                f"Tables of your own that features read, {', '.join(sources)}: this "
                "cannot delete from them. Delete the users there as well."
            )
        if self.ga4_events:
            self.notes.append(
                f"The GA4 export has {self.ga4_events:,} events of them. It is "
                "yours: delete the users in Google Analytics first (User Deletion "
                "API), which writes its tables for days, then run this with @user_ids:"
            )

    def fields(self) -> dict[str, Any]:
        """Return the report for a program."""
        fields = {**asdict(self), "unreadable": sorted(self.unreadable)}
        return {**fields, "left": self.left}

    def __str__(self) -> str:
        of = f" of use case {self.use_case}" if self.use_case else ""
        lines = [f"{len(self.hashes)} user(s){of}, as of {self.began_at}"]
        rows = [("", "what", "where", "before", "after")]
        rows += [
            (
                "",
                place.what,
                place.name,
                f"{place.before:,}",
                "-" if place.after is None else f"{place.after:,}",
            )
            for place in self.places
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [
            "  ".join(
                text.rjust(width) if place > 2 else text.ljust(width)  # noqa: PLR2004
                for place, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        if self.is_dry:
            lines.append("Nothing was removed.")
        elif self.left:
            lines.append(f"{self.left:,} are left: run it again.")
        else:
            lines.append("A second search found nothing.")
        if self.suppressed:
            lines.append(
                f"On the list of suppressed users. Again at {self.run_again_at}"
            )
        lines += self.notes
        if self.ga4_statement:
            lines.append(self.ga4_statement)
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """How many entries were taken off the list of suppressed users."""

    removed: int

    def __str__(self) -> str:
        return f"{self.removed} entries taken off the list of suppressed users."


def users_of(arguments: Sequence[str], stdin: TextIO | None) -> tuple[str, ...]:
    """
    Return the users that a command names, each once.

    Ids of any length: an export may have them longer than a lookup takes, and whoever
    has one can be forgotten.

    Args:
        arguments: Of the command; a single ``-`` reads ``stdin`` instead.
        stdin: One user id a line, in UTF-8 whatever the locale is; a byte order mark
            before the first is none of it. None where it is closed.

    Raises:
        RequestError: There is none, or one is not written in UTF-8.
    """
    every = arguments
    if tuple(arguments) == ("-",):
        every = _lines(stdin.buffer.read() if stdin else b"")
    users = tuple(dict.fromkeys(user for user in every if user))
    if not users:
        raise RequestError("no user was named", field="user_id")
    if not all(map(is_encodable, users)):
        raise RequestError("a user id is not written in UTF-8", field="user_id")
    return users


def pieces(values: Sequence[str]) -> Iterator[list[str]]:
    """Yield values in lists short enough for one statement."""
    piece: list[str] = []
    characters = 0
    for value in values:
        is_full = characters + len(value) > AT_ONCE_CHARACTERS
        if piece and (is_full or len(piece) == AT_ONCE):
            yield piece
            piece, characters = [], 0
        piece.append(value)
        characters += len(value)
    if piece:
        yield piece


def _lines(data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            "the user ids on standard input are not written in UTF-8; save them as "
            "UTF-8",
            field="user_id",
        ) from error
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
