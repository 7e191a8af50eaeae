"""
What was promised of an evaluated week, against what came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from statistics import NormalDist
from typing import Any

from propensity.learning.metrics import NORMAL, rate_interval
from propensity.pages.charts import Bar, bars_svg
from propensity.pages.words import (
    Format,
    Number,
    count,
    decimals,
    ordered,
    percent,
    present,
    ratio,
    shared,
)

Row = Mapping[str, Any]

_LEVEL = 0.05


def verdict(row: Row, *, noun: str, outcome: str) -> dict[str, Any] | None:
    """
    Say whether the week kept the promise, on average.

    By the odds that were lacking; of events, for which they are not kept, by the
    interval of the rate.

    Returns:
        ``good``, ``word`` and ``reason``; None where nothing was promised.
    """
    gap = _odds(row, noun) or _share(row)
    if gap is None:
        return None
    claim, more, is_chance = gap
    if is_chance:
        return {"good": True, "word": "As promised", "reason": f"{claim}: chance."}
    word = f"{'More' if more else 'Fewer'} than promised {outcome}"
    return {"good": False, "word": word, "reason": f"{claim}: more than chance."}


def _odds(row: Row, noun: str) -> tuple[str, bool, bool] | None:
    """Say by how much the odds were off, if it was more, and if that is chance."""
    lacked = row.get("residual_log_odds")
    error = row.get("residual_standard_error")
    if not (present(lacked) and present(error)):
        return None
    low, high = lacked - NORMAL * error, lacked + NORMAL * error
    claim = (
        f"The odds of all {noun}s were {_beside(lacked)} the promised ones "
        f"({_change(low)} to {_change(high)})"
    )
    return claim, lacked > 0, low <= 0 <= high


def _share(row: Row) -> tuple[str, bool, bool] | None:
    """Say the same of the share that came, by its interval."""
    promised, users = row.get("mean_probability"), row.get("users")
    conversions = row.get("conversions")
    if not (present(promised) and present(conversions) and users):
        return None
    low, high = rate_interval(conversions, users)
    claim = (
        f"{percent(promised)} was promised, {percent(conversions / users)} came "
        f"({percent(low)} to {percent(high)})"
    )
    return claim, conversions / users > promised, low <= promised <= high


def _beside(log_odds: float) -> str:
    change = _change(log_odds).lstrip("+−")
    return f"{change} {'above' if log_odds > 0 else 'below'}"


def _change(log_odds: float) -> str:
    """Write a shift of log-odds as a change of the odds."""
    shown = round(100 * (exp(min(log_odds, 20.0)) - 1))
    return f"{'+' if shown >= 0 else '−'}{abs(shown)}%"


def _apart(parts: int) -> float:
    """Return how many standard errors are more than chance in any of so many groups."""
    return NormalDist().inv_cdf(1 - _LEVEL / (2 * parts))


def groups(row: Row) -> dict[str, Any] | None:
    """
    Return the groups of a week's rows, the highest scores first.

    Each has the rate with its interval, beside the mean probability; and the lift,
    beside the one that the probabilities promise. An anomaly score promises neither.

    Returns:
        ``rows`` of a table; charts ``rates`` and ``lifts``, None where there is nothing
        to draw; ``missed``, the groups whose rate was other than promised by more than
        chance, which all of them share (Bonferroni); and ``beyond``, other groups whose
        promise is not in their own interval. None without groups.
    """
    parts = [part for part in row.get("lift") or () if part.get("users")]
    parts = sorted(parts, key=lambda part: ordered(part.get("decile")))
    if not parts:
        return None
    base, mean = row.get("base_rate"), row.get("mean_probability")
    apart = _apart(len(parts))
    entries = [_entry(part, base=base, mean=mean, apart=apart) for part in parts]
    promises = present(mean)
    return {
        "promises": promises,
        "rows": [_cells(entry) for entry in entries],
        "rates": _chart(
            entries, "rate", "promised", percent, title="Calibration by group"
        ),
        "lifts": _chart(
            entries,
            "lift",
            "promised_lift",
            decimals(2),
            unit="×",
            title="Lift by group",
            reference=1.0,
            reference_name="average",
        )
        if base
        else None,
        "missed": [entry["name"] for entry in entries if not entry["is_kept"]],
        "beyond": [entry["name"] for entry in entries if _is_beyond(entry)],
        "measured": len(entries),
    }


def _entry(part: Row, *, base: Number, mean: Number, apart: float) -> dict[str, Any]:
    users, conversions = part["users"], part.get("conversions") or 0.0
    promised, rate = part.get("mean_probability"), ratio(conversions, users)
    low, high = rate_interval(conversions, users)
    wide = rate_interval(conversions, users, deviations=apart)
    return {
        "name": f"Group {part.get('decile')}",
        "users": users,
        "conversions": conversions,
        "promised": promised,
        "rate": rate,
        "rate_low": low,
        "rate_high": high,
        "is_kept": not present(promised) or wide[0] <= promised <= wide[1],
        "promised_lift": promised / mean if present(promised) and mean else None,
        "lift": rate / base if rate is not None and base else None,
    }


def _is_beyond(entry: Row) -> bool:
    """Tell whether a promise that chance may explain is not in its 95% interval."""
    if not (entry["is_kept"] and present(entry["promised"])):
        return False
    return not entry["rate_low"] <= entry["promised"] <= entry["rate_high"]


def _cells(entry: Row) -> tuple[str, ...]:
    write = decimals(2)
    return (
        entry["name"],
        shared(entry["users"]),
        shared(entry["conversions"]),
        percent(entry["promised"]),
        percent(entry["rate"]),
        f"{percent(entry['rate_low'])} to {percent(entry['rate_high'])}",
        write(entry["promised_lift"]),
        write(entry["lift"]),
    )


def _chart(
    entries: Sequence[Row],
    came: str,
    promised: str,
    write: Format,
    *,
    unit: str = "",
    **drawn: Any,
) -> Any:
    """Draw what came of each group beside what was promised, by their keys."""
    bars = [
        Bar(
            name=entry["name"],
            value=entry[came],
            shown=f"{write(entry[came])}{unit}",
            low=entry.get(f"{came}_low"),
            high=entry.get(f"{came}_high"),
            promised=entry[promised],
        )
        for entry in entries
    ]
    described = ", ".join(
        f"{entry['name']}: {write(entry[promised])} promised, {write(entry[came])} came"
        for entry in entries
    )
    return bars_svg(
        bars, description=f"The highest probabilities first. {described}.", **drawn
    )


def missed(row: Row, *, noun: str, who: str) -> str:
    """Say how many of label 1 nobody would have found, and why."""
    conversions, unscored = row.get("conversions"), row.get("unscored_converters")
    parts = []
    if present(conversions):
        for kind, where in (
            ("budget", f"outside the best {row.get('budget')}"),
            ("best", "below the best threshold"),
        ):
            hits = row.get(f"true_positives_at_{kind}")
            if present(hits):
                lost = max(conversions - hits, 0.0)
                parts.append(f"{shared(lost)} {'was' if lost == 1 else 'were'} {where}")
    text = ""
    if parts:
        text = f"Of {count(conversions)} {who}, {' and '.join(parts)}."
        if not conversions:
            text = f"There are none {who}."
    if unscored:
        more = f" {count(unscored)}{' more' if parts else ''} had no"
        if noun == "user":
            text += f"{more} probability: they were new, or had long been away."
        else:
            text += f"{more} score."
    return text.strip()
