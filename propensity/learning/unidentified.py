"""Purchases without a user id: why a shop's own total is higher, in a sentence."""

from __future__ import annotations

from propensity.pages.words import Plain, amount, count


def unidentified(row: Plain, unit: str = "") -> str:
    """
    Say how many purchases of a week have no user id, and what they brought.

    Args:
        row: Of ``ma_model_evaluation``, with the metrics that are in JSON.
        unit: The currency; may be empty.

    Returns:
        Sentences; empty where all have an id, or where that was not counted.
    """
    without = row.get("purchases_without_id")
    if not without:
        return ""
    verb = "has" if without == 1 else "have"
    return (
        f"{count(without)} of {count(row['purchases'])} purchases {verb} no user id, "
        "for example because a visitor refused cookies. Without an id, purchases "
        f"brought {amount(row['revenue_without_id'], unit)} of "
        f"{amount(row['revenue'], unit)}, and are in no other number here: that is "
        "why your shop's own total is higher."
    )
