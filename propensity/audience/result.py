"""
What contacting an audience brought, as a sum of money and as a sentence.

A user counts once, in the week of becoming a member, so a user of several dates is in
the sum once: with what this user paid within the horizon of the first of them. The sum
is the difference per user, which ``uplift`` measures, times the contacted users; so it
holds at every weekly look of a year, too.

``results`` reads stored rows; all else is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from propensity.measures.gain import Gain, gained
from propensity.measures.intervals import Difference, in_columns
from propensity.measures.verdicts import (
    LOST,
    MINIMUM_BUYERS,
    OPEN,
    UpliftVerdict,
    verdict_of,
)
from propensity.pages.words import about, amount, plural, share

if TYPE_CHECKING:
    from propensity.registry.deployment import Deployment

# Rows of ``ma_audience_lift`` or ``ma_programme_lift`` by column.
StoredRow = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    """
    What an audience brought up to a week, in the currency of its use case.

    Attributes:
        week: Prediction date of its newest members.
        status: "final", or "provisional" while outcomes may still arrive.
        contacted, control: Users so far, each once.
        cost: Of the first contacts of all users, each at its date's price; None if an
            audience doesn't say.
        gain: Its amount and profit are None without an interval.
        unknown: Why the amount is None; empty if it is known.
    """

    week: date
    status: str
    contacted: int
    control: int
    verdict: UpliftVerdict
    cost: Decimal | None
    margin: float | None
    gain: Gain
    unknown: str

    def columns(self) -> dict[str, Any]:
        """Return the values by name, for JSON and pages: money as numbers."""
        columns = dict[str, Any]()
        for name, value in vars(self).items():
            columns[name] = float(value) if isinstance(value, Decimal) else value
        columns["verdict"] = self.verdict.code
        gain = columns.pop("gain")
        columns |= in_columns("brought", gain.amount)
        return columns | in_columns("profit", gain.profit)


def newest(rows: Sequence[StoredRow]) -> StoredRow:
    """
    Return the newest row of an audience's, with the date ``decided``.

    While its outcomes may still arrive, its verdict is that of the final row before;
    without one, it is open and ``decided`` is None.
    """
    in_order = sorted(rows, key=itemgetter("week"))
    shown = in_order[-1]
    if verdict_of(shown["verdict"]) is not OPEN:
        return {**shown, "decided": shown["week"]}
    for row in reversed(in_order):
        if row["status"] == "final":
            return {**shown, "verdict": row["verdict"], "decided": row["week"]}
    return {**shown, "decided": None}


def by_week(rows: Sequence[StoredRow]) -> list[Result]:
    """Return what contacting brought up to each week, as ``newest`` had it then."""
    in_order = sorted(rows, key=itemgetter("week"))
    weeks = range(1, len(in_order) + 1)
    return [result(newest(in_order[:week])) for week in weeks]


def result(row: StoredRow) -> Result:
    """Return what contacting brought up to the week of a row."""
    cost = row.get("cost")
    margin = row.get("margin")
    verdict = verdict_of(row["verdict"])
    gain = gained(row, cost=cost, margin=margin)
    unknown = ""
    if verdict is LOST:
        unknown = "some users got lost on the way"
    elif not row["control_users"]:
        unknown = "there is no control group"
    elif gain.amount is None:
        unknown = "their outcomes have no amounts"
    elif gain.amount.low is None:
        unknown = f"it takes {MINIMUM_BUYERS} buyers in each group"
    if unknown:
        gain = Gain(gain.buyers)
    return Result(
        week=row["week"],
        status="provisional" if row["status"] is None else row["status"],
        contacted=_count(row["treated_users"]),
        control=_count(row["control_users"]),
        verdict=verdict,
        cost=cost,
        margin=margin,
        gain=gain,
        unknown=unknown,
    )


def _count(users: int | None) -> int:
    return 0 if users is None else int(users)


def sentence(shown: Result, currency: str) -> str:
    """Say what contacting brought, with its interval, its cost, and what is left."""
    parts = [claim(shown, currency)]
    brought = shown.gain.amount
    profit = shown.gain.profit
    if brought is not None:
        ends = interval_text(brought)
        still = "" if shown.status == "final" else "; provisional"
        parts.append(f" ({ends}{still})")
    if shown.cost is not None and shown.contacted:
        cost = amount(shown.cost, currency)
        parts.append(
            f"; their first contacts cost {cost} (later ones, and what they brought, "
            "are not counted)"
        )
    parts.append(".")
    if profit is not None:
        what = "loss" if profit.estimate < 0 else "profit"
        left = amount(abs(profit.estimate), currency)
        parts.append(
            f" At a margin of {share(shown.margin)}, that is a {what} of {left} "
            f"({interval_text(profit)})."
        )
    if brought is not None and not (brought.is_above() or brought.is_below()):
        if shown.verdict.is_undecided:
            parts.append(" The difference may be chance.")
        else:
            verdict = shown.verdict.page.capitalize()
            parts.append(
                f" {verdict}, by how many had the outcome; the amount may be chance."
            )
    return "".join(parts)


def brought_headline(shown: Result, currency: str) -> str:
    """Say what contacting brought, without a stop; no gain or loss that is chance."""
    brought = shown.gain.amount
    if brought is None or brought.is_above() or brought.is_below():
        return claim(shown, currency)
    users = plural(shown.contacted, "user")
    if shown.verdict.is_undecided:
        return f"Too early to say what contacting {users} brought"
    verdict = shown.verdict.page.capitalize()
    return f"{verdict}; too early to say how much contacting {users} brought"


def claim(shown: Result, currency: str) -> str:
    """Say what contacting brought, in a few words without a stop."""
    users = plural(shown.contacted, "user")
    brought = shown.gain.amount
    if not shown.contacted:
        return "No user has been contacted yet"
    if brought is None:
        return f"What contacting {users} brought is not known: {shown.unknown}"
    more = "less" if brought.estimate < 0 else "more"
    return (
        f"Contacting {users} brought {amount(abs(brought.estimate), currency)} {more} "
        "than not contacting them"
    )


def interval_text(shown: Difference) -> str:
    """Write an interval of money, or that there is none."""
    if shown.low is None or shown.high is None:
        return "too few buyers for an interval"
    return f"95% interval {about(shown.low)} to {about(shown.high)}"


def results(deployment: Deployment, *, until: date) -> dict[str, Result]:
    """Return what contacting brought up to the newest week of each audience."""
    rows = deployment.rows("audience_lifts", until=until)
    return {
        audience: result(newest(list(weeks)))
        for audience, weeks in groupby(rows, itemgetter("audience"))
    }
