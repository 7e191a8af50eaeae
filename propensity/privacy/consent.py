"""
What users have consented to: which events of the GA4 export are read.

The export says of every event whether the user had allowed analytics storage and ads
storage at that moment: Yes, No, or nothing where the site has no consent mode. Only a
Yes is consent. The view of the export leaves out what is without it, so that no
statement can forget to.

Source:
    https://support.google.com/analytics/answer/7029846, privacy_info;
    https://support.google.com/analytics/answer/9976101, consent mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.errors import SettingsError
from propensity.statements import statement
from propensity.usecases import EXPORT_VIEW

if TYPE_CHECKING:
    from propensity.edges.warehouse import Warehouse

VIEW = EXPORT_VIEW

# What is appended to the view's conditions, by setting.
_CONDITIONS = {
    "false": (),
    "true": ("analytics_consent",),
    "analytics_storage": ("analytics_consent",),
    "ads_storage": ("ads_consent",),
    "both": ("analytics_consent", "ads_consent"),
}


def events_view(export: str, *, require: str) -> str:
    """
    Return the text of the view of the export.

    Args:
        export: Project and dataset of the export.
        require: The setting ``require_consent``.
    """
    text = statement("ga_events")
    for name in ("events_*", "INFORMATION_SCHEMA.TABLES"):
        text = text.replace(f"`{name}`", f"`{export}.{name}`")
    parts = [text]
    parts += _conditions(require)
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def _conditions(require: str) -> list[str]:
    return [statement(name) for name in _CONDITIONS[require]]


def check_view(warehouse: Warehouse) -> None:
    """
    Make sure that the view leaves out users who did not consent.

    Raises:
        SettingsError: It was made before the setting was: events without consent would
            be read.
        MissingTable: There is no view.
    """
    require = warehouse.settings.require_consent
    if not _CONDITIONS[require]:
        return
    text = warehouse.view_text(VIEW)
    if not all(condition.strip() in text for condition in _conditions(require)):
        raise SettingsError(
            f"PROPENSITY_REQUIRE_CONSENT is {require}, and the view {VIEW} reads "
            "events without that consent: run the set-up, which replaces it. Nothing "
            "was read",
            field="PROPENSITY_REQUIRE_CONSENT",
        )
