"""Set-up: the dataset with its tables and views, created where missing."""

from __future__ import annotations

from datetime import date

from propensity.errors import MissingTable, PropensityError, SettingsError
from propensity.ga4.shards import KINDS, kinds_of
from propensity.ga4.view import consent_of, events_view
from propensity.gcp.warehouse import Warehouse
from propensity.runs import digest, digest_state
from propensity.settings import Settings
from propensity.tables import every as tables
from propensity.tables.audiences import AUDIENCE_LEDGER, AUDIENCE_LISTS
from propensity.tables.export import DIGEST
from propensity.tables.export_names import VIEW
from propensity.tables.models import PREDICTIONS_HISTORY
from propensity.tables.stream import STREAM_FEATURES
from propensity.usecases.exports import settings_of_exports


def prepare(warehouse: Warehouse, settings: Settings) -> None:
    """
    Create the dataset, its tables and its views, where missing.

    Raises:
        MissingTable: An export has no table yet, so that its view can not be made.
            All else is there.
        SettingsError: An export is in another location. All else is there.
    """
    warehouse.create_dataset(settings.dataset)
    for table in tables.retained(settings.retention_days):
        warehouse.create(table)
    views = tables.views(f"{settings.project}.{settings.dataset}")
    for name in (
        PREDICTIONS_HISTORY,
        STREAM_FEATURES,
        AUDIENCE_LEDGER,
        AUDIENCE_LISTS,
    ):
        warehouse.replace_view(name, views[name])
    problems = list[PropensityError]()
    for export in settings_of_exports(settings):
        try:
            prepare_export(warehouse.for_run(export), export)
        except (MissingTable, SettingsError) as error:
            problems.append(error)
    if problems:
        raise problems[0]


def prepare_export(warehouse: Warehouse, settings: Settings) -> None:
    """Create the view of an export, and the tables of its digest."""
    for table in DIGEST:
        warehouse.create(table)
    kinds = kinds_of(warehouse.tables_of(settings.export))
    text = events_view(
        settings.export,
        require=settings.require_consent,
        kinds=kinds if kinds else KINDS,
    )
    warehouse.replace_view(VIEW, text)
    if consent_of(text):
        # Events without a consent that is asked for from now on go at once.
        # Which days are due is not asked.
        state = digest_state.read_state(warehouse, today=date.max)
        digest.withdraw_days(warehouse, state)
