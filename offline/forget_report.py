"""
The report of forgetting: what was found, what is left, and what others have to do.

It is kept, so it names no user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from propensity.errors import UseCaseError
from propensity.usecases import UseCase

# A place is rows or objects, and the name of the table or folder.
Place = tuple[str, str]
# Lines of a list that a note names.
_NAMED = 20


@dataclass
class Report:
    """
    What is told of users who are forgotten.

    Attributes:
        users: Their ids; or the line of each in a list.
        run_again_at: When functions follow the list of suppressed users; "" if nobody
            was added to it.
        ga4_events: Events of theirs in the exports; None where there is no export.
        ga4_statement: What the exports' owner runs.
    """

    users: Sequence[str] | Mapping[str, int]
    use_case: str
    is_dry: bool
    suppressed: bool
    found: int = 0
    run_again_at: str = ""
    ga4_events: int | None = None
    ga4_statement: str = ""
    receivers: Sequence[Mapping[str, Any]] = ()
    notes: list[str] = field(default_factory=list)
    bytes_billed: int = 0
    unreadable: Sequence[str] = ()
    left: int = 0
    places: list[dict[str, Any]] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """Return the entries of the command's answer."""
        return {**asdict(self), "users": len(self.users)}

    def add_places(
        self, before: Counter[Place], after: Counter[Place] | None = None
    ) -> None:
        places = dict(before)
        if after is not None:
            places |= after
            self.left += after.total()
        for what, where in places:
            row = {"what": what, "where": where, "before": before[what, where]}
            if after is not None:
                row["after"] = after[what, where]
            self.places.append(row)

    def add_unknown(self, found: Iterable[str]) -> None:
        """Note whom no table has, by their lines."""
        lines = {user: line for line, user in enumerate(self.users, 1)}
        if isinstance(self.users, Mapping):
            lines = dict(self.users)
        for user in found:
            lines.pop(user, None)
        self.found = len(self.users) - len(lines)
        if not lines:
            return
        numbers = sorted(lines.values())
        listed = ", ".join(map(str, numbers[:_NAMED]))
        more = " …" if len(numbers) > _NAMED else ""
        where = "line" if len(numbers) == 1 else "lines"
        self.notes.append(
            f"{len(numbers):,} of {len(self.users):,} ids are in no table: {where} "
            f"{listed}{more}. Compare them with the table letter by letter."
        )

    def add_notes(
        self,
        *,
        browsers: Sequence[str],
        use_cases: Iterable[UseCase],
        wrong: Iterable[UseCaseError],
        is_digest_searched: bool,
        is_kept: bool,
    ) -> None:
        """
        Note what else was removed, and what others have to do.

        Args:
            wrong: Of use cases whose folders cannot be read.
            is_kept: Whether rows stay that a receiver's removal needs.
        """
        if browsers:
            self.notes.append(
                f"Of these persons {len(browsers)} browsers were included."
            )
        own_tables = set[str]()
        is_digest_read = False
        for use_case in use_cases:
            own_tables.update(use_case.own_tables)
            is_digest_read = is_digest_read or use_case.reads_digest
        if own_tables:
            listed = ", ".join(sorted(own_tables))
            self.notes.append(
                f"Delete the users from tables of your own as well: {listed}."
            )
        for error in wrong:
            self.notes.append(
                f"{error.message}. Correct it and run this again: its own tables and "
                "audiences are not known."
            )
        if self.use_case and is_digest_read and not is_digest_searched:
            self.notes.append(
                "The digest of the export is not searched: other use cases read it, "
                "and have these users still. Without --use-case the users are "
                "forgotten there, too."
            )
        if is_kept:
            self.notes.append(
                "Their rows of these audiences stay, because the removal needs them. "
                "Run this again after it, which deletes them too."
            )
        if self.unreadable:
            self.notes.append(
                "Delete or repair the unreadable files, and run this again."
            )
        if self.ga4_statement:
            self.notes.append(
                "The GA4 export is yours: delete the users in Google Analytics first "
                "(User Deletion API), which writes its tables for days, then run the "
                "statement with @user_ids."
            )
