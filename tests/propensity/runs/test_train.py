"""
Training as a run, where no function shows it: what it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity import usecases
from propensity.errors import NotEnoughData, SchemaError
from propensity.runs import train
from propensity.settings import GIB, Settings


class TestChecks:
    def test_features_that_are_not_there_are_named(self):
        """What features.sql must give is what usecase.toml names."""
        rows = pa.table({"recency_days": [1.0]})

        train.check_features(rows, {"recency_days": "number"})
        with pytest.raises(SchemaError, match="shoe_size"):
            train.check_features(
                rows, {"recency_days": "number", "shoe_size": "number"}
            )


class TestOutcomes:
    def left(self, *missing: date, hours: int = 0) -> tuple[set[date], dict[str, Any]]:
        """Which snapshots are left out."""
        run: Any = SimpleNamespace(
            settings=Settings(project="p", property_utc_offset_hours=hours),
            timeframe=usecases.load("ga4_purchase").timeframe(Settings(project="p")),
            missing_days=missing,
            now=lambda: datetime(2026, 6, 1, tzinfo=UTC),
            log_fields={},
        )
        return {*ALL} - {*train._with_outcomes(run, ALL)}, run.log_fields

    def test_of_days_that_are_there_are_all(self):
        assert self.left() == (set(), {})

    def test_that_lack_a_day_are_left_out(self):
        """The first and the last day of a horizon count; the one before it is of the
        snapshot before."""
        as_of = ALL[40]

        assert self.left(as_of) == ({as_of}, {"snapshots_left_out": 1})
        assert self.left(as_of + timedelta(days=6))[0] == {as_of}
        assert self.left(as_of - timedelta(days=1))[0] == {ALL[39]}
        assert self.left(as_of, as_of + timedelta(days=7))[0] == {as_of, ALL[41]}

    @pytest.mark.parametrize(("hours", "days"), [(9, 7), (-8, -1)])
    def test_lie_in_the_tables_of_local_days(self, hours, days):
        """East of Greenwich the last hours are in the next day's table, west of it the
        first ones in the day's before."""
        day = ALL[40] + timedelta(days=days)

        assert ALL[40] in self.left(day, hours=hours)[0]

    def test_that_lack_days_everywhere_train_nothing(self):
        with pytest.raises(NotEnoughData, match="each of 65 snapshots lacks days"):
            self.left(*ALL)


AS_OF = date(2026, 6, 1)
ALL = tuple(AS_OF - timedelta(days=10 + 7 * n) for n in reversed(range(65)))


class TestAffordable:
    """An export of ``days`` costs a GiB a day that a statement reads."""

    def chosen(self, *, limit_gib: int) -> tuple[Sequence[date], dict[str, Any]]:
        def dry_run(sql: str, parameters: Mapping[str, Any]) -> int:
            dates = parameters["as_ofs"]
            return ((dates[-1] - dates[0]).days + parameters["lookback_days"]) * GIB

        run: Any = SimpleNamespace(
            use_case=usecases.load("ga4_purchase"),
            settings=Settings(project="p", maximum_bytes_billed=limit_gib * GIB),
            as_of=AS_OF,
            warehouse=SimpleNamespace(dry_run=dry_run),
            log_fields={},
        )
        return train._affordable(run, ALL), run.log_fields

    def test_are_all_snapshots_where_the_limit_allows_them(self):
        """Nothing is left out, and the log says nothing."""
        assert self.chosen(limit_gib=60 + 64 * 7) == (ALL, {})

    @pytest.mark.parametrize("limit", [200, 300, 507])
    def test_are_the_newest_that_the_limit_allows(self, limit):
        """A training that would be refused as a whole learns from fewer weeks; the log
        says how many."""
        snapshots, logged = self.chosen(limit_gib=limit)

        assert snapshots == ALL[-len(snapshots) :]
        assert 60 + 7 * (len(snapshots) - 1) <= limit
        assert len(snapshots) >= 3
        assert logged == {"snapshots_limited": len(snapshots)}

    def test_are_three_at_least(self):
        """Fewer can train nothing: then the query is refused, and says why."""
        assert len(self.chosen(limit_gib=1)[0]) == 3
