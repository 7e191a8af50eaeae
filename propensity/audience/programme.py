"""
The programme: what all audiences of a control group brought together.

Members of two audiences would count twice if their sums were added. Here each user
counts once, at the first date in any of the audiences, with what this user did within
the horizon from then on; so contacted users are compared with those held out, as of a
single audience. Audiences with control groups of their own have no such comparison:
whom one holds out, another one contacts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity.audience import declared
from propensity.audience.result import (
    Result,
    StoredRow,
    difference_in,
    interval_text,
    newest,
    sentence,
)
from propensity.errors import PropensityError
from propensity.measures.intervals import Difference, in_columns
from propensity.pages.words import about
from propensity.tables.audiences import ALL

if TYPE_CHECKING:
    from propensity.registry.deployment import Deployment
    from propensity.usecases import UseCase


@dataclass(frozen=True, kw_only=True)
class Together:
    """
    What the audiences of a control group brought together.

    Attributes:
        of_all: Of all weeks so far.
        buyers: How many more users had the outcome; None if that isn't known.
        weeks: Up to each week, the oldest first.
        quarters: By their names, the oldest first.
    """

    control_group: str
    audiences: Sequence[str]
    of_all: Result
    buyers: Difference | None
    weeks: Sequence[Result]
    quarters: Mapping[str, Result]


def programmes(rows: Iterable[StoredRow]) -> list[Together]:
    """
    Return what is known of each control group, the largest one first.

    Args:
        rows: Of ``ma_programme_lift``, of one use case.
    """
    by_group: dict[str, dict[str, list[StoredRow]]] = {}
    for row in rows:
        periods = by_group.setdefault(row["control_group"], {})
        periods.setdefault(row["period"], []).append(row)
    together = []
    for group, periods in by_group.items():
        weeks = sorted(periods.pop(ALL, []), key=lambda row: row["week"])
        last = newest(weeks)
        if last is None:
            continue
        quarters = {}
        for period in sorted(periods):
            shown = newest(periods[period])
            if shown is not None:
                quarters[period] = _result(shown)
        together.append(
            Together(
                control_group=group,
                audiences=last["audiences"],
                of_all=_result(last),
                weeks=[_result(row) for row in weeks],
                buyers=difference_in(last, "added_buyers"),
                quarters=quarters,
            )
        )
    return sorted(together, key=lambda each: -each.of_all.contacted)


def _result(row: StoredRow) -> Result:
    """Return what the row of a programme says."""
    return Result(
        week=row["week"],
        status="provisional" if row["status"] is None else row["status"],
        contacted=int(row["treated_users"]),
        control=int(row["control_users"]),
        verdict=row["verdict"],
        cost_per_contact=None,
        cost=row["cost"],
        margin=row["margin"],
        **in_columns("brought", difference_in(row, "brought")),
        **in_columns("profit", difference_in(row, "profit")),
    )


def programme_lines(together: Together, currency: str) -> list[str]:
    """Say what a programme brought: in all, then by quarter."""
    of_all = together.of_all
    said = [f"{_title(together)}: {sentence(of_all, currency)}"]
    buyers = together.buyers
    if buyers is not None:
        more = "more" if buyers.estimate >= 0 else "fewer"
        ends = interval_text(buyers.low, buyers.high)
        count = about(abs(buyers.estimate))
        said.append(f"About {count} {more} users had the outcome ({ends}).")
    for name, result in together.quarters.items():
        said.append(f"{name}: {sentence(result, currency)}")
    return said


def _title(together: Together) -> str:
    names = ", ".join(together.audiences)
    if len(together.audiences) == 1:
        return names
    return f"All audiences of control group {together.control_group} ({names})"


def groups_of(use_case: UseCase) -> dict[str, list[str]]:
    """Return declared audiences by control group; wrong files have none."""
    groups: dict[str, list[str]] = {}
    for name in declared.names(use_case):
        with contextlib.suppress(PropensityError):
            audience = declared.load(use_case, name)
            groups.setdefault(audience.group, []).append(name)
    return groups


def apart(use_case: UseCase) -> str:
    """
    Say that audiences share no control group, and how they can; "" if they do.

    An audience keeps its draw for good, since another one would contact users who were
    held out.
    """
    groups = groups_of(use_case)
    if len(groups) < 2:
        return ""
    names = "; ".join(", ".join(audiences) for audiences in groups.values())
    first = next(iter(groups))
    return (
        f"What all audiences brought together can't be measured, because they have "
        f"{len(groups)} control groups ({names}): whom one holds out, another one "
        f'contacts. For one sum, write control_group = "{first}", with the same '
        "control and control_by, into a new file for each of the others, under a new "
        "name, and end the old audience"
    )


def read(deployment: Deployment, *, until: date) -> list[Together]:
    """Return what the audiences of a use case brought together, up to a day."""
    since = date(1970, 1, 1)
    return programmes(deployment.rows("programme_lifts", since=since, until=until))


def programme_account(deployment: Deployment) -> dict[str, Any]:
    """Return what the audiences of a use case brought together, for JSON."""
    groups = []
    for together in read(deployment, until=date.max):
        quarters = []
        for name, result in together.quarters.items():
            quarters.append({"quarter": name, **result.columns()})
        group = {
            "control_group": together.control_group,
            "audiences": list(together.audiences),
            **together.of_all.columns(),
            **in_columns("added_buyers", together.buyers),
            "quarters": quarters,
            "says": programme_lines(together, deployment.use_case.currency),
        }
        groups.append(group)
    return {
        "use_case": deployment.use_case.name,
        "programmes": groups,
        "apart": apart(deployment.use_case),
    }
