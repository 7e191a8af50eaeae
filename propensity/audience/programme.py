"""
What all audiences of a control group brought together.

Each user counts once, at the first date in any of them: sums of the audiences would
count members of two twice. Audiences with control groups of their own have no such
comparison: whom one holds out, another one contacts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity.audience.declared import audiences_of_users
from propensity.audience.result import (
    Result,
    StoredRow,
    by_week,
    interval_text,
    newest,
    result,
    sentence,
)
from propensity.measures.intervals import in_columns
from propensity.pages.words import about
from propensity.statements import statement
from propensity.timeframe import ALL_WEEKS

if TYPE_CHECKING:
    from propensity.registry.deployment import Deployment
    from propensity.settings import Settings
    from propensity.usecases import UseCase


@dataclass(frozen=True, kw_only=True)
class Together:
    """
    What the audiences of a control group brought together, up to each week.

    The group may be shared with audiences of other use cases.
    """

    control_group: str
    audiences: Sequence[str]
    weeks: Sequence[Result]
    quarters: Mapping[str, Result]
    shared_with: Sequence[str] = ()

    @property
    def of_all(self) -> Result:
        """What they brought up to the newest week."""
        return self.weeks[-1]

    @property
    def by_quarter(self) -> list[dict[str, Any]]:
        """What they brought by quarter, the oldest first, for JSON and pages."""
        return [
            {"quarter": name, **brought.columns()}
            for name, brought in self.quarters.items()
        ]


def programmes(
    rows: Iterable[StoredRow], shared: Mapping[str, Sequence[str]]
) -> list[Together]:
    """
    Return what is known of each control group of a use case, the largest one first.

    Args:
        shared: As of ``shared_groups``.
    """
    by_group = defaultdict[str, dict[str, list[StoredRow]]](dict)
    for row in rows:
        by_group[row["control_group"]].setdefault(row["period"], []).append(row)
    together = []
    for group, periods in by_group.items():
        weeks = periods.pop(ALL_WEEKS, [])
        if not weeks:
            continue
        together.append(
            Together(
                control_group=group,
                audiences=newest(weeks)["audiences"],
                weeks=by_week(weeks),
                quarters={
                    name: result(newest(periods[name])) for name in sorted(periods)
                },
                shared_with=shared.get(group, ()),
            )
        )
    return sorted(together, key=lambda each: -each.of_all.contacted)


def shared_groups(plans: Iterable[StoredRow], use_case: str) -> dict[str, list[str]]:
    """Return the audiences of the other use cases, by the name of their control group.

    Args:
        plans: Rows of any audiences, with the control group of each.
    """
    shared: dict[str, list[str]] = {}
    for row in plans:
        name = f"{row['audience']} of {row['use_case']}"
        names = shared.setdefault(row["control_group"], [])
        if row["use_case"] != use_case and name not in names:
            names.append(name)
    return shared


def programme_lines(together: Together, currency: str) -> list[str]:
    """Say what a programme brought: in all, then by quarter if there are several."""
    of_all = together.of_all
    title = ", ".join(together.audiences)
    if len(together.audiences) > 1:
        title = f"All audiences of control group {together.control_group} ({title})"
    said = [f"{title}: {sentence(of_all, currency)}"]
    if together.shared_with:
        # A user whom both contact is in the sum of each, with all that was bought.
        said[0] += (
            f" The control group is shared with {', '.join(together.shared_with)}, so "
            "this may include what those contacts brought: don't add the sums."
        )
    buyers = of_all.gain.buyers
    if buyers is not None:
        more = "more" if buyers.estimate >= 0 else "fewer"
        count = about(abs(buyers.estimate))
        ends = interval_text(buyers)
        said.append(f"About {count} {more} users had the outcome ({ends}).")
    if len(together.quarters) > 1:
        for name, brought in together.quarters.items():
            said.append(f"{name}: {sentence(brought, currency)}")
    return said


def apart(settings: Settings, use_case: UseCase) -> str:
    """
    Say that audiences share no control group, and how they can; "" if they do.

    An audience keeps its draw for good, since another one would contact users who were
    held out.
    """
    groups: dict[str, list[str]] = {}
    audiences = sorted(
        audiences_of_users(settings, use_case),
        key=lambda each: each[1].name != use_case.name,
    )
    for name, _, audience in audiences:
        groups.setdefault(audience.group, []).append(name)
    has_own = any(other.name == use_case.name for _, other, _ in audiences)
    if len(groups) < 2 or not has_own:
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


def read_programmes(deployment: Deployment, *, until: date) -> list[Together]:
    rows = deployment.rows("programme_lifts", until=until)
    plans = deployment.warehouse.rows(statement("audience_draws"), {})
    return programmes(rows, shared_groups(plans, deployment.use_case.name))


def programme_account(deployment: Deployment) -> dict[str, Any]:
    """Return what the audiences of a use case brought together, for JSON."""
    groups = []
    for together in read_programmes(deployment, until=date.max):
        group = {
            "control_group": together.control_group,
            "audiences": list(together.audiences),
            **together.of_all.columns(),
            **in_columns("added_buyers", together.of_all.gain.buyers),
            "quarters": together.by_quarter,
            "says": programme_lines(together, deployment.use_case.currency),
        }
        groups.append(group)
    return {
        "use_case": deployment.use_case.name,
        "programmes": groups,
        "apart": apart(deployment.settings, deployment.use_case),
    }
