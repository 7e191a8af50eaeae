"""
A folder of weeks: a list each Monday, and what the last ones brought.

The newest whole day of the export is the date of a list. In the session that trains for
it, the outcomes of all earlier lists that are final by now are read, once. Users count
once, on their first list; what all lists together brought is judged as an audience of a
deployment is, at weekly looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from msgspec import structs

from propensity import whole_files
from propensity.audience.control import Control
from propensity.errors import NoData, RequestError
from propensity.learning import season
from propensity.measures.metrics import grouped
from propensity.measures.uplift import errors_at, figures, progress_at
from propensity.pages.page import fill_template
from propensity.pages.words import about
from propensity.runs.late import EXPORT_STOPPED_DAYS
from propensity.spreadsheet import csv_of
from propensity.table_files.ids import read_ids
from propensity.tables.audiences import GroupSums
from propensity.trying.export import (
    ExportTrial,
    TriedExport,
    event_of,
    open_trial,
    paid_by_date,
    told,
    train_here,
)
from propensity.trying.folder import (
    Bound,
    Counted,
    Lists,
    WeeklyList,
    check_bound,
    locked,
    new_members,
    read_lists,
    with_list,
    without_users,
    write_lists,
)
from propensity.trying.lists import (
    BEST,
    CONTROL,
    GROUP,
    best,
    brought,
    draw_control,
    group_sums,
)
from propensity.trying.sentences import brought_text

WEEK = timedelta(days=7)
# Of all scored users, groups of so many have one probability in the folder.
GROUPS = 50
# These lists follow no season, however many buyers are known.
NEVER = 2**62


def write_week(
    target: str,
    folder: Path,
    *,
    share: float | None,
    key: str | None,
    never: Path | None,
    jobs_in: str | None,
    label_event: str | None,
    now: datetime,
    cost_per_contact: float | None,
    margin: float | None,
    **train: Any,
) -> dict[str, Any]:
    """
    Write the list of the week and the page of a folder, and judge the lists before.

    Args:
        share: Of the users, that is held out; None for the folder's.
        key: Of the control group; None for the folder's own.
        never: A file of ids that are never listed.
        train: As ``train_here``.

    Returns:
        The answer: ``is_new`` tells whether a list was written.
    """
    with locked(folder):
        state = read_lists(folder)
        if state is None and share is None:
            raise RequestError(
                f"{folder} has no list yet, so that the first one needs the share of "
                "its control group",
                hint="Add --control 10%",
                field="control",
            )
        if share is None and state is not None:
            share = state.bound.control_share
        assert share is not None
        control = draw_control(share, folder, key)
        left_out = [] if never is None else read_ids(never)
        with open_trial(target, label_event, jobs_in=jobs_in, now=now) as trial:
            bound = _bound(trial, control)
            if state is None:
                state = Lists(bound)
            check_bound(state, bound, folder)
            _check_running(trial, now=now)
            if state.weeks and trial.as_of < state.weeks[-1].as_of + WEEK:
                return {**_answer(folder, state), "is_new": False}
            reaching = _reaching_back(trial, state)
            tried = train_here(reaching, **train)
            state = _counted(reaching, state, folder)
        people = tried.people[~tried.people["user_id"].isin(left_out)]
        listed = best(people, tried.trial, control)
        content = csv_of(list(listed), listed.itertuples(index=False))
        state = with_list(state, _week(tried, listed, state), content)
        newest = state.weeks[-1]
        write_lists(folder, state, {newest.name: content})
        whole_files.write_whole(folder / "report.html", tried.page().encode())
        together = _together(state, cost_per_contact, margin)
        whole_files.write_whole(
            folder / "index.html", _page(state, together, tried).encode()
        )
        answer = {**told(tried), **_answer(folder, state), "is_new": True}
        return {**answer, "together": together}


def forget(folder: Path, file: Path) -> dict[str, Any]:
    """Remove the users of a file from all lists of a folder."""
    users = read_ids(file)
    with locked(folder):
        state = read_lists(folder)
        if state is None:
            raise RequestError(
                f"{folder} has no lists", hint="Check the path", field="folder"
            )
        return {"removed": without_users(folder, state, users)}


def _bound(trial: ExportTrial, control: Control) -> Bound:
    settings = trial.settings
    return Bound(
        export=trial.export.name,
        user_column=settings.user_column,
        label_event=event_of(trial),
        horizon_days=trial.use_case.horizon_days,
        require_consent=settings.require_consent,
        control_share=control.share,
        key=control.fingerprint,
        listed=BEST,
    )


def _check_running(trial: ExportTrial, *, now: datetime) -> None:
    last = trial.as_of - timedelta(days=1)
    age = (now.date() - last).days - 1
    if age > EXPORT_STOPPED_DAYS:
        raise NoData(
            f"{trial.export.name} has stopped: its last whole day is {last}, and no "
            "list is written of users who may have bought since",
            hint="Check in Google Analytics, Admin, BigQuery links, whether the export "
            "is still linked and within its limit",
        )


def _open(trial: ExportTrial, state: Lists) -> list[date]:
    """Return dates of lists that are not counted yet, and whose outcomes are final."""
    final = trial.timeframe.newest_matured(today=trial.as_of)
    as_ofs = [week.as_of for week in state.weeks if week.counted is None]
    return [as_of for as_of in as_ofs if as_of <= final]


def _reaching_back(trial: ExportTrial, state: Lists) -> ExportTrial:
    """Return a trial that also reads the days of outcomes of lists long ago."""
    first_days = [trial.days[0]]
    first_days += [as_of - timedelta(days=1) for as_of in _open(trial, state)]
    return replace(trial, first_day=min(first_days))


def _counted(trial: ExportTrial, state: Lists, folder: Path) -> Lists:
    """Read the outcomes of all lists that are final by now."""
    as_ofs = _open(trial, state)
    if not as_ofs:
        return state
    use_case = trial.use_case
    window = use_case.window(trial.settings, as_ofs, today=trial.as_of)
    rows = trial.warehouse.rows(use_case.statement("trial_buyers"), window)
    buyers = {row["as_of"]: row["buyers"] for row in rows}
    paid = paid_by_date(trial, as_ofs)
    now = []
    for week in state.weeks:
        counted = week.counted
        if week.as_of in as_ofs:
            sums = group_sums(new_members(folder, state, week), paid[week.as_of])
            counted = Counted(buyers=buyers.get(week.as_of, 0), sums=sums)
        now.append(structs.replace(week, counted=counted))
    return structs.replace(state, weeks=now)


def _week(tried: TriedExport, listed: pd.DataFrame, state: Lists) -> WeeklyList:
    """Return the week of a new list, with what is expected of all scored users."""
    chance = tried.people["probability"].to_numpy(np.float64)
    chances = []
    for part in np.array_split(np.sort(chance), min(GROUPS, len(chance))):
        chances.append((float(part.mean()), len(part)))
    held_out = int((listed[GROUP] == CONTROL).sum())
    information = float((chance * (1 - chance)).sum())
    forecast = season.forecast(
        list(chain.from_iterable(map(_evaluated, state.weeks))),
        as_of=tried.trial.as_of,
        horizon_days=tried.trial.use_case.horizon_days,
        minimum_conversions=NEVER,
        information=information,
    )
    expected = None
    if forecast is not None:
        expected = forecast.range(
            users=len(chance), expected=float(chance.sum()), information=information
        )
    return WeeklyList(
        as_of=tried.trial.as_of,
        sha256="",
        contacted=len(listed) - held_out,
        held_out=held_out,
        users=len(chance),
        chances=chances,
        range=expected,
    )


def _evaluated(week: WeeklyList) -> Sequence[season.EvaluatedWeek]:
    """Return what a week tells of how much weeks differ; nothing while it is open."""
    if week.counted is None:
        return ()
    means = np.array([mean for mean, _ in week.chances])
    users = np.array([users for _, users in week.chances], dtype=np.float64)
    buyers = week.counted.buyers
    # Only the sum of buyers is asked, so that any group may have them.
    lacked = season.residual(grouped(means, users, users * (buyers / users.sum())))
    if lacked is None:
        return ()
    return [
        season.EvaluatedWeek(
            week=week.as_of,
            log_odds=lacked[0],
            standard_error=lacked[1],
            conversions=buyers,
            others=week.users - buyers,
        )
    ]


def _together(
    state: Lists, cost_per_contact: float | None, margin: float | None
) -> dict[str, Any]:
    """Return what the lists brought whose outcomes are final, each user once."""
    as_ofs = []
    sums: list[GroupSums] = []
    for week in state.weeks:
        if week.counted is not None:
            as_ofs.append(week.as_of)
            sums += [group for group in week.counted.sums if group.users]
    progress = 1.0
    if as_ofs:
        progress = progress_at(as_ofs[-1], first=as_ofs[0], until=None)
    shown = figures(
        sums,
        control_share=state.bound.control_share,
        errors=errors_at(progress),
        is_final=True,
    )
    contacted = shown.treated_users
    cost = None if cost_per_contact is None else cost_per_contact * contacted
    together = {
        "lists": len(as_ofs),
        "contacted": contacted,
        "verdict": shown.verdict,
        "cost": cost,
    }
    gain = brought(shown, sums, cost=cost, margin=margin)
    for name, difference in gain._asdict().items():
        together[name] = asdict(difference) if difference else None
    return together


def _answer(folder: Path, state: Lists) -> dict[str, Any]:
    newest = state.weeks[-1]
    return {
        "list": str(folder / newest.name),
        "as_of": newest.as_of,
        "label_event": state.bound.label_event,
        "next": newest.as_of + WEEK,
        "contacted": newest.contacted,
        "held_out": newest.held_out,
        "page": str(folder / "index.html"),
    }


def _page(state: Lists, together: Mapping[str, Any], tried: TriedExport) -> str:
    return fill_template(
        "propensity.trying",
        "folder.html",
        {
            "bound": state.bound,
            "weeks": state.weeks[::-1],
            "together": together,
            "said": brought_text(together, state.bound.label_event),
            "about": about,
            "currency": tried.trial.use_case.currency,
        },
    )
