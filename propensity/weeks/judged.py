"""What was expected of a week beside what came, and when that is an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from propensity.measures.intervals import rate_interval
from propensity.pages.words import Plain, amount, count, percent, present

# An alarm of the outcomes: odds off by a quarter, and by three standard errors.
_ALARM_ODDS = 0.25
_ALARM_ERRORS = 3.0


@dataclass(frozen=True, kw_only=True)
class Judgement:
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


def judgements_of(row: Plain, unit: str = "") -> list[Judgement]:
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
        judgements.append(Judgement(what="users", text=text, is_expected=is_expected))
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
        judgements.append(Judgement(what="money", text=text, is_expected=is_expected))
    return judgements


def season_alarm(row: Plain) -> str | None:
    """
    Say that the outcomes of a row of ``ma_model_evaluation`` were far from expected.

    None without an alarm, and for a week with the probabilities of another one.
    """
    lacked = row.get("residual_log_odds")
    error = row.get("residual_standard_error")
    is_own = row.get("prediction_as_of") == row.get("week")
    if lacked is None or error is None or not is_own:
        return None
    if abs(lacked) <= log(1 + _ALARM_ODDS) + _ALARM_ERRORS * error:
        return None
    odds = exp(min(lacked, 20.0)) - 1
    which = "more" if lacked > 0 else "less"
    sentence = f"users converted {which} often than predicted: odds {odds:+.0%}"
    if row.get("log_odds_shift") is None:
        return sentence
    return f"{sentence}, beyond what the season's shift allows for"


def value_alarm(row: Plain) -> str | None:
    """
    Say that users paid far less or more than was expected, whatever chance did.

    None without an alarm, for a week with the values of another one, and where too few
    paid to tell.
    """
    error = row.get("value_error")
    low = row.get("value_error_low")
    high = row.get("value_error_high")
    is_own = row.get("prediction_as_of") == row.get("week")
    if error is None or low is None or high is None or not is_own:
        return None
    if low <= _ALARM_ODDS and (1 + high) * (1 + _ALARM_ODDS) >= 1:
        return None
    # A factor that is nearly nothing says less than the sums.
    return (
        f"users were expected to pay {1 + error:.2f} times what they paid "
        f"({1 + low:.2f} to {1 + high:.2f}): {row['value_promised']:,.2f} instead of "
        f"{row['value_observed']:,.2f}"
    )


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
