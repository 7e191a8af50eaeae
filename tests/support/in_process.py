"""A deployment with all tables, for those who play sequences by the hundred."""

from __future__ import annotations

from propensity.tables import every as tables
from propensity.tables.models import PREDICTIONS_HISTORY
from tests.support.deployment import Deployment


class InProcess(Deployment):
    """A deployment without an export, with every table and one view."""

    def __init__(self, **settings: str) -> None:
        super().__init__(**{"PROPENSITY_GA4_DATASET": "", **settings})
        for table in tables.TABLES:
            self.warehouse.create(table)
        history = tables.views(f"{self.project}.{self.dataset}")[PREDICTIONS_HISTORY]
        self.warehouse.replace_view(PREDICTIONS_HISTORY, history)
