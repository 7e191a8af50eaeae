"""
What comes of acting on some of the rows only, as a page says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.pages.words import (
    Number,
    bounded,
    compact,
    count,
    decimals,
    percent,
    plural,
    present,
    shared,
)

Card = Mapping[str, Any]


def selection(quality: Card, *, noun: str, outcome: str) -> dict[str, Any] | None:
    """
    Return sentences and rows on the budget, the best threshold and the fixed one.

    Args:
        quality: Figures of a holdout, or of an evaluated week.
        noun: What a row is, in the singular.
        outcome: The verb for rows of label 1, as in *went on to buy*.

    Returns:
        ``sentences``, and ``rows`` of a table; None for a version that has neither
        a budget nor a best threshold, as those from before they were recorded. The
        fixed threshold is a row beside them, and a sentence where it says little.
    """
    base = quality.get("base_rate")
    sentences, rows = [], []
    budget = quality.get("budget")
    if budget and present(quality.get("precision_at_budget")):
        users = quality.get("users_at_budget")
        best = f"{count(users)} best" if not _is_share(budget) else f"best {budget}"
        who = f"the {best}"
        if _is_share(budget):
            # As exactly as those of label 1, of whom there would else be more.
            who += f", {shared(users)} {noun}{'' if users == 1 else 's'}"
        sentences.append(
            f"Of {who}, {shared(quality.get('true_positives_at_budget'))} {outcome}: "
            f"precision {percent(quality.get('precision_at_budget'))}"
            f"{_times(quality.get('precision_at_budget'), base)}."
        )
        rows.append((f"The {best}", *_cells(quality, "budget", base)))
    threshold = quality.get("best_threshold")
    if present(threshold):
        users = quality.get("users_at_best")
        sentences.append(
            f"{compact(threshold)} was the threshold with the best F1 on earlier rows. "
            + (
                f"Of the {plural(users, noun)} from there on, "
                f"{shared(quality.get('true_positives_at_best'))} {outcome}: precision "
                f"{percent(quality.get('precision_at_best'))}"
                f"{_times(quality.get('precision_at_best'), base)}."
                if users
                else f"No {noun} was there."
            )
        )
        rows.append((f"From {compact(threshold)} on", *_cells(quality, "best", base)))
    if not rows:
        return None
    fixed = quality.get("threshold")
    if present(fixed) and present(quality.get("true_positives")):
        mark = ""
        if is_out_of_reach(quality):
            mark = ", says little"
            sentences.append(
                f"The fixed threshold {compact(fixed)} says little here: outcomes are "
                f"rare, and calibrated probabilities hardly reach it. "
                f"{plural(_fixed(quality)['users_at_fixed'], noun)} did."
            )
        rows.append(
            (f"From {compact(fixed)} on{mark}", *_cells(_fixed(quality), "fixed", base))
        )
    return {"sentences": sentences, "rows": rows}


def is_out_of_reach(quality: Card) -> bool:
    """
    Tell whether the fixed threshold says little: hardly any probability reaches it.

    So it is where probabilities are calibrated and label 1 is rare. Then fewer rows are
    above than a quarter of those of label 1, so that recall is below a quarter whatever
    the model is worth. A score that is no probability has no such threshold.
    """
    conversions = quality.get("conversions")
    if not present(quality.get("true_positives")) or not present(conversions):
        return False
    return bool(4 * _fixed(quality)["users_at_fixed"] < conversions)


def _fixed(quality: Card) -> dict[str, Any]:
    """Return the figures at the fixed threshold under the names of a selection."""
    hits, false_alarms = quality.get("true_positives"), quality.get("false_positives")
    named = {
        f"{name}_at_fixed{end}": quality.get(f"{name}{end}")
        for name in ("precision", "recall", "f1")
        for end in ("", "_low", "_high")
    }
    return {
        **named,
        "true_positives_at_fixed": hits,
        "users_at_fixed": (hits or 0) + (false_alarms or 0),
    }


def _is_share(budget: object) -> bool:
    return str(budget).endswith("%")


def _times(precision: Number, base: Number) -> str:
    if not present(precision) or not present(base) or base <= 0:
        return ""
    return f", which is {decimals(1)(precision / base)} times the base rate"


def _cells(quality: Card, kind: str, base: Number) -> tuple[str, ...]:
    """Return the figures of a row, with their intervals."""
    precision = quality.get(f"precision_at_{kind}")
    times = precision / base if present(precision) and base else None
    return (
        shared(quality.get(f"users_at_{kind}")),
        shared(quality.get(f"true_positives_at_{kind}")),
        bounded(quality, f"precision_at_{kind}", percent),
        bounded(quality, f"recall_at_{kind}", percent),
        bounded(quality, f"f1_at_{kind}", decimals(3)),
        bounded({f"lift_at_{kind}": times, **quality}, f"lift_at_{kind}", decimals(2)),
    )
