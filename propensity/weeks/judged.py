"""What was expected of a week beside what came, and when that is an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from propensity.pages.words import (
    Plain,
    about,
    amount,
    count,
    period,
    plain_day,
    present,
)
from propensity.timeframe import LONGEST_DAYS

# An alarm is of a week that is off by a quarter of what was expected, too.
_ALARM = 0.25

Verdict = Literal["as expected", "other than expected", "not judged"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """
    What was expected of a week beside what came.

    Attributes:
        verdict: Whether what came is within the range that was published.
        text: Both counts with the range, or why the week is not judged.
        revenue: The same of money, which has no verdict; "" without amounts.
        is_alarm: Whether a person should look: it is off, and by a quarter.
    """

    verdict: Verdict
    text: str
    revenue: str
    is_alarm: bool


def judgement_of(row: Plain, horizon_days: int, unit: str = "") -> Judgement | None:
    """
    Judge a week by the range that was published with its predictions.

    Args:
        row: Of ``ma_model_evaluation``, with the fields of ``metrics``.
        horizon_days: Days of outcomes in a week.
        unit: The currency; may be empty.

    Returns:
        None for days of events, and for a week without users.
    """
    if not row.get("prediction_as_of") or not present(row.get("mean_probability")):
        return None
    actual = row["conversions"]
    expected = row["users"] * row["mean_probability"]
    reason = _not_judged(row, horizon_days)
    text = f"{conversions_text(row, horizon_days)}; actual: {count(actual)}"
    verdict: Verdict = "as expected"
    if reason:
        verdict = "not judged"
        text = f"{count(expected)} expected; actual: {count(actual)}. {reason}"
    elif not row["conversions_low"] <= actual <= row["conversions_high"]:
        verdict = "other than expected"
    return Judgement(
        verdict=verdict,
        text=text,
        revenue="" if reason else _revenue(row, horizon_days, unit),
        is_alarm=verdict == "other than expected"
        and abs(actual - expected) > _ALARM * expected,
    )


def conversions_text(row: Plain, horizon_days: int) -> str:
    """Say how many of a week's, or a publication's, users are expected to convert."""
    expected = count(row["users"] * row["mean_probability"])
    return _range_text(expected, row, "conversions", count, horizon_days)


def revenue_text(row: Plain, horizon_days: int, unit: str) -> str:
    """Say how much they are expected to pay."""
    expected = about(row["value_promised"], unit)
    return _range_text(expected, row, "value", about, horizon_days)


def _range_text(
    expected: str, row: Plain, name: str, write: Any, horizon_days: int
) -> str:
    low = row.get(f"{name}_low")
    high = row.get(f"{name}_high")
    if low is None or high is None:
        return f"{expected} expected"
    nearly_always = f"in 19 {period(horizon_days)}s of 20"
    return f"{expected} expected, {write(low)} to {write(high)} {nearly_always}"


def _revenue(row: Plain, horizon_days: int, unit: str) -> str:
    if row.get("value_promised") is None:
        return ""
    actual = amount(row["value_observed"], unit)
    return f"{revenue_text(row, horizon_days, unit)}; actual: {actual}"


def _not_judged(row: Plain, horizon_days: int) -> str:
    """Return why a week can't be judged; "" if it can."""
    lacked = row.get("lacked")
    if lacked:
        return f"Not judged: the export lacks {', '.join(map(plain_day, lacked))}"
    if row.get("conversions_low") is not None:
        return ""
    if horizon_days > LONGEST_DAYS:
        return f"Not judged: not enough {period(horizon_days)}s yet"
    if row.get("week") not in (None, row["prediction_as_of"]):
        published = plain_day(row["prediction_as_of"])
        return f"Not judged: its predictions are those of {published}"
    return "Not judged: its predictions were published without a range"


def unidentified(row: Plain, unit: str = "") -> str:
    """
    Say how many purchases of a week have no user id, and what they brought.

    Args:
        row: Of ``ma_model_evaluation``, with the fields of ``metrics``.
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
