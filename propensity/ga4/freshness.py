"""How far a run reads the export; ``shards`` finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """
    How far the export can be read.

    Attributes:
        data_until: The newest as-of date, at most the requested, with all days before.
        late: Days from it on without a complete table.
        missing: Earlier days of the window without a table.
        streamed: Days with only a streamed table.
        is_awaited: Whether a late day, or more of a streamed one, may still come.
        age_days: How many days before the run's date the export ends.
    """

    data_until: date
    late: tuple[date, ...] = ()
    missing: tuple[date, ...] = ()
    streamed: tuple[date, ...] = ()
    is_awaited: bool = False
    age_days: int = 0
