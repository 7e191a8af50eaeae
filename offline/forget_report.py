"""
Who is to be forgotten and how, and the report of what was found and removed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who is to be forgotten, and how."""

    user_ids: tuple[str, ...]
    use_case: str = ""
    is_dry: bool = False
    is_suppressing: bool = True
    is_quiet: bool = False

    @property
    def users(self) -> frozenset[str]:
        """The users, to look them up."""
        return frozenset(self.user_ids)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that all conditions share."""
        return {"user_ids": list(self.user_ids), "use_case": self.use_case}


@dataclass(kw_only=True)
class Place:
    """
    Where users were looked for: rows, or generations of objects with such rows.

    ``after`` is what a second search found; None where none was made.
    """

    what: str
    name: str
    before: int
    after: int | None = None


@dataclass(kw_only=True)
class Report:
    """What was found and removed, and what is left to do by others."""

    hashes: list[str]
    use_case: str
    is_dry: bool
    began_at: str
    suppressed: bool = False
    places: list[Place] = field(default_factory=list)
    ga4_events: int | None = None
    ga4_statement: str = ""
    run_again_at: str = ""
    bytes_billed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """What a second search found."""
        return sum(place.after or 0 for place in self.places)

    def fields(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {**asdict(self), "left": self.left}

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
