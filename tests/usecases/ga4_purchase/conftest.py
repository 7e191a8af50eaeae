"""An export of GA4, and what the use case's statements say of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from local.exports import digest
from propensity import usecases
from propensity.ga4.shards import DAILY, kinds_of
from propensity.ga4.view import events_view
from propensity.tables.export_names import VIEW
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.shop import microseconds

AS_OF = date(2026, 3, 2)
MIDNIGHT = microseconds(AS_OF)
DAY_US = 86_400_000_000
USE_CASE = usecases.load("ga4_purchase")


def ago(days: float, *, plus: int = 0) -> int:
    """Return a moment so many days before the as-of date, and some microseconds."""
    return MIDNIGHT - round(days * DAY_US) + plus


class Export(Deployment):
    """A deployment's export, and the use case's statements over it."""

    def load(self, tables: Mapping[str, pa.Table]) -> Export:
        """Load daily tables, and digest them: statements read nothing else."""
        shop.load_shards(self, tables)
        self.view()
        digest.fill(self.warehouse, ["purchase", "refund", "subscribe"])
        return self

    def view(self) -> Export:
        """Make the view alone."""
        kinds = kinds_of(self.warehouse.tables_of(self.settings.export))
        text = events_view(
            self.settings.export,
            require=self.settings.require_consent,
            kinds=kinds or [DAILY],
        )
        self.warehouse.replace_view(VIEW, text)
        return self

    def outcomes(self, name: str, *as_ofs: date, **sampled: Any) -> list[shop.Row]:
        window = USE_CASE.window(self.settings, as_ofs or [AS_OF])
        table = self.warehouse.table(USE_CASE.statement(name), {**window, **sampled})
        return list(table.to_pylist())

    def features(self, *as_ofs: date) -> dict[Any, shop.Row]:
        """Return rows by user; by as-of date and user where there are several."""
        rows = self.outcomes("features", *as_ofs)
        several = len(as_ofs) > 1
        features = {
            (row["as_of"], row["user_id"]) if several else row["user_id"]: row
            for row in rows
        }
        assert len(features) == len(rows)
        return features

    def training_rows(self, *as_ofs: date) -> list[shop.Row]:
        """Return the cohort's features with their labels."""
        rows = self.outcomes("training_rows", *as_ofs, maximum_rows=100_000)
        assert {row["weight"] for row in rows} <= {1.0}
        return rows
