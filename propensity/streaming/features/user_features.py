"""Features of users as of now, which a use case's statement makes of the stream."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from propensity.usecases import NUMBER

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries
    from propensity.usecases import Features, UseCase

_HOUR = timedelta(hours=1)


class UserFeatures(NamedTuple):
    """
    Features of a user on the stream as of now, and when the use case scores the user.

    Attributes:
        elapsed: The feature with the hours since ``since``; empty for none.
    """

    values: Features
    until: datetime | None
    since: datetime | None = None
    elapsed: str = ""

    def at(self, moment: datetime) -> Features | None:
        """
        Return the features; None from the moment on when the user is not scored.

        The pointer read by now can be newer than the moment: then so are the hours.
        """
        if self.until is None or moment >= self.until:
            return None
        if not self.elapsed or self.since is None:
            return self.values
        stored = self.values[self.elapsed]
        hours = 0.0 if stored is None else float(stored)
        hours = max(hours, (moment - self.since) / _HOUR)
        return {**self.values, self.elapsed: hours}


def users_on_the_stream(
    warehouse: Queries,
    use_case: UseCase,
    user_ids: Collection[str],
    *,
    first_event_day: date,
) -> dict[str, UserFeatures]:
    """Return the features of users as of now, by one query; users may have none."""
    rows = warehouse.lookup(
        use_case.statement("stream_rows"),
        use_case.serving(warehouse.settings, user_ids, first_event_day=first_event_day),
    )
    by_user = {}
    for row in rows:
        # The model's floats, not BigQuery's decimals: Arrow does not round a large one.
        values = dict[str, float | str | None]()
        for name, kind in use_case.features.items():
            is_number = kind == NUMBER and row[name] is not None
            values[name] = float(row[name]) if is_number else row[name]
        by_user[row["user_id"]] = UserFeatures(
            values,
            until=row.get("scored_until"),
            since=row.get("scored_from"),
            elapsed=use_case.stream.elapsed,
        )
    return by_user
