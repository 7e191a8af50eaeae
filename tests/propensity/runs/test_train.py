"""
Training as a run, where no function shows it: what it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity import usecases
from propensity.errors import SchemaError
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
        found, logged = self.chosen(limit_gib=limit)

        assert found == ALL[-len(found) :]
        assert 60 + 7 * (len(found) - 1) <= limit
        assert len(found) >= 3
        assert logged == {"snapshots_limited": len(found)}

    def test_are_three_at_least(self):
        """Fewer can train nothing: then the query is refused, and says why."""
        assert len(self.chosen(limit_gib=1)[0]) == 3
