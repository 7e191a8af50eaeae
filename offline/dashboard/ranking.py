"""The ROC AUC of the newest week, compared with the week before."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from offline.dashboard.reading import Row
from propensity.pages.words import present


def sentence(weeks: Sequence[Row], *, is_of_events: bool) -> str:
    """
    Return it in words, and whether chance explains what has changed.

    Args:
        weeks: Evaluations of publications, newest first, one at least.
        is_of_events: Whether events are scored, and a row is of a day.
    """
    newest = weeks[0]
    head = f"{'On' if is_of_events else 'In the week of'} {newest['week']}"
    if not newest["users"]:
        return f"{head} no outcome is known, so there is no ROC AUC."
    if not present(newest["roc_auc"]):
        return f"{head} outcomes were of one kind alone, so there is no ROC AUC."
    text = f"{head} the ROC AUC was {newest['roc_auc']:.3f}"
    if present(newest["roc_auc_low"]) and present(newest["roc_auc_high"]):
        low, high = newest["roc_auc_low"], newest["roc_auc_high"]
        text += f" (95% interval {low:.3f} to {high:.3f})"
    before = next((row for row in weeks[1:] if present(row["roc_auc"])), None)
    if before is None:
        span = "day" if is_of_events else "week"
        return f"{text}; it is the first {span} with figures."
    text += f", after {before['roc_auc']:.3f}"
    if before["model_version"] != newest["model_version"]:
        text += f" by version {before['model_version']}"
    is_chance = _is_chance(newest, before)
    if is_chance is None:
        return f"{text}."
    why = "chance explains that" if is_chance else "more than chance explains"
    return f"{text}: {why}."


def _is_chance(newest: Row, before: Row) -> bool | None:
    """
    Say whether two weeks may differ by chance alone; None where one has no interval.

    Source: G. Zou and A. Donner, "Construction of confidence limits about effect
    measures", Statistics in Medicine 27, 2008: the limits of a difference from those of
    its parts.
    """
    low, high = sorted((newest, before), key=lambda row: float(row["roc_auc"]))
    if not (present(low["roc_auc_high"]) and present(high["roc_auc_low"])):
        return None
    return float(high["roc_auc"] - low["roc_auc"]) <= hypot(
        high["roc_auc"] - high["roc_auc_low"], low["roc_auc_high"] - low["roc_auc"]
    )
