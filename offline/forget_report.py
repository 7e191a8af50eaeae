"""
The report of forgetting: what was found, what is left, and what others have to do.

It is kept, so it names no user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    What is told of users who are forgotten: the entries of the command's answer.

    Attributes:
        run_again_at: When functions follow the list of suppressed users; "" if nobody
            was added to it.
        ga4_events: Events of theirs in the exports; None where there is no export.
        ga4_statement: What the exports' owner runs.
        left: Rows and objects with users, unreadable files, and users whose rows wait.
    """

    users: int
    use_case: str
    is_dry: bool
    suppressed: bool
    found: int = 0
    run_again_at: str = ""
    ga4_events: int | None = None
    ga4_statement: str = ""
    receivers: Sequence[Mapping[str, object]] = ()
    notes: list[str] = field(default_factory=list)
    bytes_billed: int = 0
    unreadable: Sequence[str] = ()
    left: int = 0
    places: list[dict[str, Any]] = field(default_factory=list)

    def add_places(
        self, before: Counter[Place], after: Counter[Place] | None = None
    ) -> None:
        """Add what a search found, and if users were removed what the next one did."""
        places = before if after is None else {**before, **after}
        for what, where in places:
            row = {"what": what, "where": where, "before": before[what, where]}
            if after is not None:
                row["after"] = after[what, where]
                self.left += after[what, where]
            self.places.append(row)

    def add_unknown(self, lines: Mapping[str, int], found: set[str]) -> None:
        """Note whom no table has, by the lines of the list."""
        unknown = sorted(line for user, line in lines.items() if user not in found)
        self.found = len(lines) - len(unknown)
        if not unknown:
            return
        listed = ", ".join(map(str, unknown[:_NAMED]))
        more = " …" if len(unknown) > _NAMED else ""
        where = "line" if len(unknown) == 1 else "lines"
        self.notes.append(
            f"{len(unknown):,} of {self.users:,} ids are in no table: {where} "
            f"{listed}{more}. Compare them with the table letter by letter."
        )

    def add_use_cases(
        self,
        use_cases: Collection[UseCase],
        wrong: Iterable[UseCaseError],
        *,
        is_digest_searched: bool,
    ) -> None:
        """Note what is not searched of use cases, and of those that are wrong."""
        own_tables = {name for use_case in use_cases for name in use_case.own_tables}
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
        is_digest_read = any(use_case.reads_digest for use_case in use_cases)
        if is_digest_read and not is_digest_searched:
            self.notes.append(
                "The digest of the export is not searched: other use cases read it, "
                "and have these users still. Without --use-case the users are "
                "forgotten there, too."
            )

    def add_left(self, *, waiting: int, unreadable: Iterable[str]) -> None:
        """Note what another run has to do, and the exports' owner."""
        self.unreadable = sorted(unreadable)
        if not self.is_dry:
            self.left += len(self.unreadable) + waiting
        if waiting:
            self.notes.append(
                f"Of {waiting} users the rows in tables of audiences stay, because a "
                "removal needs them. Run this again after it, which deletes them too."
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
