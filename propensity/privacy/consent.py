"""
Consent of users: which events of the GA4 export are read.

The export says for every event whether the user had allowed analytics storage and ads
storage at that moment: Yes, No, or nothing if the site has no consent mode. Only a Yes
is consent. The view of the export leaves out events without it, so that no statement
can forget to.

Source:
    https://support.google.com/analytics/answer/7029846, privacy_info;
    https://support.google.com/analytics/answer/9976101, consent mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from propensity import usecases
from propensity.errors import SchemaError, SettingsError
from propensity.statements import statement
from propensity.usecases import UseCase, export

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse

VIEW = export.VIEW

# Statements with the view's further conditions, by setting.
_CONDITIONS = {
    "false": (),
    "true": ("analytics_consent",),
    "analytics_storage": ("analytics_consent",),
    "ads_storage": ("ads_consent",),
    "both": ("analytics_consent", "ads_consent"),
}


def events_view(
    dataset: str, *, require: str, kinds: Sequence[str] = (export.DAILY,)
) -> str:
    """
    Return the text of the view of the export, for all use cases of this deploy.

    Args:
        dataset: Project and dataset of the export.
        require: The setting ``require_consent``.
        kinds: Of the export's tables, as ``export.text`` takes them.

    Raises:
        UseCaseError: A use case is wrong, or two name a column with different types.
    """
    conditions = [statement(name) for name in _CONDITIONS[require]]
    values = usecases.export_values()
    return export.text(dataset, kinds=kinds, values=values, conditions=conditions)


def check_view(warehouse: Warehouse, use_case: UseCase) -> None:
    """
    Make sure that the view leaves out events without consent, and has the columns that
    the use case names.

    Raises:
        SettingsError: It is older than the setting: events without consent would be
            read.
        SchemaError: It lacks a column that the use case names.
        MissingTable: There is no view.
    """
    require = warehouse.settings.require_consent
    if not _CONDITIONS[require] and not use_case.export_values:
        return
    text = warehouse.view_text(VIEW)
    if not all(statement(name).strip() in text for name in _CONDITIONS[require]):
        raise SettingsError(
            f"PROPENSITY_REQUIRE_CONSENT is {require}, but the view {VIEW} reads "
            "events without that consent. Nothing was read",
            hint="Run deploy/setup.sh, which replaces the view",
            field="PROPENSITY_REQUIRE_CONSENT",
        )
    if missing := export.missing(text, use_case.export_values):
        raise SchemaError(
            f"the view {VIEW} lacks {', '.join(missing)}, which the use case "
            f"{use_case.name} names",
            hint="Run deploy/setup.sh, which replaces the view",
        )
