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
from itertools import accumulate
from typing import Any

import numpy as np

from propensity.learning import lift
from propensity.learning.lift import Sums

# Sums of a group, as ``audience_sums.sql`` names them.
GROUP = (
    "users",
    "probability",
    "probability_squares",
    "conversions",
    "probability_conversions",
    "revenue",
    "revenue_squares",
    "probability_revenue",
)


@dataclass(frozen=True, kw_only=True)
class Week:
    """
    Sums of the users who became members in a week.

    Attributes:
        control_share: Share that is held out.
        sums: By group: ``is_control``, and the columns of ``GROUP``.
    """

    week: date
    control_share: float
    sums: Sequence[Mapping[str, Any]]


def figures(weeks: Sequence[Week]) -> list[dict[str, Any]]:
    """
    Return the figures of each week, of all users up to it.

    Args:
        weeks: Of one audience, each with the same share, in order and from the first.
    """
    if not weeks:
        return []
    groups = {is_control: _so_far(weeks, is_control) for is_control in (False, True)}
    treated, control = groups[False], groups[True]
    users = treated["users"] + control["users"]
    first = next((count for count in users if count), 1)
    always = lift.always(users, first)
    results = {
        (outcome, kind): lift.compare(
            _sums(treated, outcome),
            _sums(control, outcome),
            quantile=quantile,
            is_binary=outcome == "conversions",
        )
        for outcome in ("conversions", "revenue")
        for kind, quantile in (("always", always), ("once", lift.once()))
    }
    p_values = lift.sample_ratio(
        treated["users"], control["users"], share=weeks[-1].control_share
    )
    has_revenue = np.logical_or(treated["has_revenue"], control["has_revenue"])
    conversions = results["conversions", "always"]
    rows = []
    for at, week in enumerate(weeks):
        difference = lift.Interval(
            value=conversions.difference.value[at],
            low=conversions.difference.low[at],
            high=conversions.difference.high[at],
        )
        row: dict[str, Any] = {
            "week": week.week,
            "control_share": week.control_share,
            "sums": [dict(group) for group in week.sums],
            **{
                f"{name}_{counted}": int(group[counted][at])
                for name, group in (("treated", treated), ("control", control))
                for counted in ("users", "conversions")
            },
            **_effect(results, "conversion", "conversions", at),
            **_columns("conversion_lift", conversions.ratio, at),
            "explained": _number(conversions.explained[at]),
            "sample_ratio_p": float(p_values[at]),
            "verdict": lift.verdict(
                difference,
                conversions=treated["conversions"][at] + control["conversions"][at],
                is_sound=bool(p_values[at] >= lift.ALARM),
            ),
        }
        if not control["conversions"][at]:
            # The adjustment makes a little of nothing: a ratio to it has any size.
            row |= {"conversion_lift": None, "conversion_lift_high": None}
        if has_revenue[at]:
            row |= {
                "treated_revenue": treated["exact_revenue"][at],
                "control_revenue": control["exact_revenue"][at],
                **_effect(results, "revenue", "revenue", at),
            }
        rows.append(row)
    return rows


def _so_far(weeks: Sequence[Week], is_control: bool) -> dict[str, Any]:
    """Return the sums of a group up to each week."""
    groups = [
        next((g for g in week.sums if bool(g["is_control"]) == is_control), {})
        for week in weeks
    ]
    totals: dict[str, Any] = {
        name: np.cumsum([float(group.get(name) or 0) for group in groups])
        for name in GROUP
    }
    # Money stays exact; figures are made of floats.
    revenue = [group.get("revenue") for group in groups]
    exact = [*accumulate(paid or Decimal(0) for paid in revenue)]
    has_revenue = np.logical_or.accumulate([paid is not None for paid in revenue])
    return totals | {"exact_revenue": exact, "has_revenue": has_revenue}


def _sums(totals: Mapping[str, Any], outcome: str) -> Sums:
    squares = "conversions" if outcome == "conversions" else f"{outcome}_squares"
    return Sums(
        users=totals["users"],
        x=totals["probability"],
        xx=totals["probability_squares"],
        y=totals[outcome],
        yy=totals[squares],
        xy=totals[f"probability_{outcome}"],
    )


def _effect(
    results: Mapping[tuple[str, str], lift.Comparison], name: str, outcome: str, at: int
) -> dict[str, float | None]:
    """Return the difference of an outcome, with limits at every look and at one."""
    once = results[outcome, "once"].difference
    return {
        **_columns(f"{name}_difference", results[outcome, "always"].difference, at),
        f"{name}_difference_once_low": _number(once.low[at]),
        f"{name}_difference_once_high": _number(once.high[at]),
    }


def _columns(name: str, interval: lift.Interval, at: int) -> dict[str, float | None]:
    return {
        name: _number(interval.value[at]),
        f"{name}_low": _number(interval.low[at]),
        f"{name}_high": _number(interval.high[at]),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
