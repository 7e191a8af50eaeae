"""A deployment with all tables, for those who play sequences by the hundred."""

from __future__ import annotations

from propensity.tables import every as tables
from propensity.tables.audiences import AUDIENCE_LEDGER, AUDIENCE_LISTS
from propensity.tables.models import PREDICTIONS_HISTORY
from tests.support.deployment import Deployment


class InProcess(Deployment):
    """A deployment without an export, with every table and those views it needs."""

    def __init__(self, **settings: str) -> None:
        super().__init__(**{"PROPENSITY_GA4_DATASET": "", **settings})
        for table in tables.TABLES:
            self.warehouse.create(table)
        views = tables.views(f"{self.project}.{self.dataset}")
        for name in (PREDICTIONS_HISTORY, AUDIENCE_LEDGER, AUDIENCE_LISTS):
            self.warehouse.replace_view(name, views[name])
