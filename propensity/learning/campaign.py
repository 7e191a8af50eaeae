"""
An audience week by week: what its treated users did, against those held out.

From sums by week to the columns of ``ma_audience_lift``. A user counts in the week of
becoming a member, and the figures of a week are of all users so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from propensity.learning import lift
from propensity.learning.lift import Amounts

# Sums of a group, as ``audience_sums.sql`` names them.
GROUP = ("users", "conversions", "revenue", "revenue_squares")


@dataclass(frozen=True, kw_only=True)
class Week:
    """
    Sums of the users who became members in a week.

    Attributes:
        control_share: Share that is held out.
        sums: By group: ``is_control``, and the columns of ``GROUP``.
        is_final: Whether no outcome of these users is missing any more.
    """

    week: date
    control_share: float
    sums: Sequence[Mapping[str, Any]]
    is_final: bool = False


def figures(weeks: Sequence[Week]) -> list[dict[str, Any]]:
    """
    Return the figures of each week, of all users up to it.

    Args:
        weeks: Of one audience, each with the same share, in order and from the first.
    """
    return [_figures(weeks[: at + 1]) for at in range(len(weeks))]


def _figures(weeks: Sequence[Week]) -> dict[str, Any]:
    """Return the figures of all users of some weeks, as those of the newest."""
    newest = weeks[-1]
    treated, control = (_so_far(weeks, is_control) for is_control in (False, True))
    users = treated["users"], control["users"]
    conversions = treated["conversions"], control["conversions"]
    difference = ratio = None
    if all(users):
        difference = lift.rate_difference(
            (conversions[0], users[0]), (conversions[1], users[1])
        )
        if conversions[1]:
            rates = conversions[0] / users[0], conversions[1] / users[1]
            ratio = rates[0] / rates[1] - 1
    p_value = lift.sample_ratio(*users, share=newest.control_share)
    row: dict[str, Any] = {
        "week": newest.week,
        "control_share": newest.control_share,
        "sums": [dict(group) for group in newest.sums],
        "treated_users": users[0],
        "control_users": users[1],
        "treated_conversions": conversions[0],
        "control_conversions": conversions[1],
        **_columns("conversion_difference", difference),
        "conversion_lift": ratio,
        "sample_ratio_p": p_value,
        "verdict": lift.verdict(
            difference,
            conversions=sum(conversions),
            is_sound=p_value >= lift.ALARM,
            is_final=newest.is_final,
        ),
    }
    if treated["revenue"] is None and control["revenue"] is None:
        return row
    amounts = [
        Amounts(
            users=group["users"],
            total=float(group["revenue"] or 0),
            squares=group["revenue_squares"] or 0.0,
        )
        for group in (treated, control)
    ]
    return row | {
        "treated_revenue": treated["revenue"] or Decimal(0),
        "control_revenue": control["revenue"] or Decimal(0),
        **_columns(
            "revenue_difference", lift.mean_difference(*amounts) if all(users) else None
        ),
    }


def _so_far(weeks: Sequence[Week], is_control: bool) -> dict[str, Any]:
    """Return the sums of a group; amounts are None where none is known."""
    groups = [
        group
        for week in weeks
        for group in week.sums
        if bool(group["is_control"]) == is_control
    ]
    totals: dict[str, Any] = {}
    for name in GROUP:
        known = [group[name] for group in groups if group[name] is not None]
        is_count = name in ("users", "conversions")
        totals[name] = sum(known) if known else 0 if is_count else None
    return totals


def _columns(name: str, interval: lift.Interval | None) -> dict[str, float | None]:
    if interval is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {
        name: interval.value,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
    }
