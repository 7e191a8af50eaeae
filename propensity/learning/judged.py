"""What was expected of a week beside what came: users and money, by one rule."""

from __future__ import annotations

from dataclasses import dataclass

from propensity.measures.intervals import rate_interval
from propensity.pages.words import Plain, amount, percent, present


@dataclass(frozen=True, kw_only=True)
class Judged:
    """
    An expected figure of a week beside the actual one.

    Attributes:
        what: "users" or "money".
        text: Both figures, with the actual one's 95% interval.
        is_expected: Whether the expected one lies within it.
    """

    what: str
    text: str
    is_expected: bool


def judged(row: Plain, unit: str = "") -> list[Judged]:
    """
    Judge what was expected of a week by one rule of chance: its users, and its money.

    Args:
        row: Of ``ma_model_evaluation``, with the metrics that are in JSON.
        unit: The currency; may be empty.

    Returns:
        What could be judged: anomaly scores expect no share, and of too few buyers
        there is no interval.
    """
    judgements = []
    expected = row.get("mean_probability")
    if present(expected) and row["users"]:
        low, high = rate_interval(row["conversions"], row["users"])
        text = (
            f"{percent(expected)} expected, {percent(row['base_rate'])} actual "
            f"(95% interval {percent(low)} to {percent(high)})"
        )
        is_expected = low <= expected <= high
        judgements.append(Judged(what="users", text=text, is_expected=is_expected))
    error = row.get("value_error")
    error_low = row.get("value_error_low")
    error_high = row.get("value_error_high")
    if present(error) and present(error_low) and present(error_high):
        text = (
            f"{amount(row['value_promised'], unit)} expected, "
            f"{amount(row['value_observed'], unit)} actual; the expected sum is "
            f"{1 + error:.2f} times the actual one (95% interval {1 + error_low:.2f} "
            f"to {1 + error_high:.2f})"
        )
        is_expected = error_low <= 0 <= error_high
        judgements.append(Judged(what="money", text=text, is_expected=is_expected))
    return judgements
