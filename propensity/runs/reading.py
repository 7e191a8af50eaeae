"""What reads rows of a use case as of a date: a run, or a trial of an export."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Protocol

from propensity.errors import SchemaError
from propensity.pages.words import plural

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries
    from propensity.settings import Settings
    from propensity.timeframe import Timeframe
    from propensity.usecases import UseCase


class RowSource(Protocol):
    """A use case, where its rows are, and the date before which they are read."""

    @property
    def settings(self) -> Settings: ...

    @property
    def use_case(self) -> UseCase: ...

    @property
    def timeframe(self) -> Timeframe: ...

    @property
    def warehouse(self) -> Queries: ...

    @property
    def as_of(self) -> date: ...

    @property
    def missing_days(self) -> Sequence[date]: ...

    def log(self, severity: str, message: str, **fields: object) -> None: ...


def check_no_user_twice(extra_rows: int) -> None:
    """Raise SchemaError if features have more than a row of some user and date."""
    if extra_rows:
        raise SchemaError(
            "features.sql returned more than one row for some users "
            f"({plural(extra_rows, 'extra row')}), so nothing was published. It must "
            "return one row per user and as-of date",
            hint="Look for a join that multiplies rows",
        )
