"""
A folder of weeks: a list each Monday, and what the last ones brought.

The newest whole day of the export is the date of a list. In the session that trains for
it, the outcomes of all earlier lists that are final by now are read, once. Users count
once, on their first list; what all lists together brought is judged as an audience of a
deployment is, at weekly looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from propensity.ids import USER
from propensity.learning import season
from propensity.measures.looks import errors_at, progress_at, weeks_left
from propensity.measures.metrics import grouped
from propensity.measures.uplift import figures
from propensity.measures.verdicts import verdict_of
from propensity.pages.page import fill_template
from propensity.pages.words import count, plural
from propensity.runs.late import EXPORT_STOPPED_DAYS
from propensity.spreadsheet import id_meant
from propensity.statements import statement
from propensity.table_files.ids import read_ids
from propensity.tables.audiences import Figures, GroupSums
from propensity.trying.export import (
    ExportTrial,
    TriedExport,
    currency_of,
    event_of,
    open_trial,
    outcome_days_without,
    paid_by_date,
    read_agreed,
    told,
    train_here,
)
from propensity.trying.first_look.who import traits_text
from propensity.trying.folder import (
    PAGE,
    REPORT,
    WEEK,
    Bound,
    Counted,
    Lists,
    WeeklyList,
    check_bound,
    differences,
    locked,
    members_of,
    new_members,
    read_lists,
    users_meant,
    without_users,
    write_list,
    write_state,
)
from propensity.trying.lists import (
    BEST,
    CONTROL,
    GROUP,
    KEY,
    ReadList,
    best,
    brought,
    draw_control,
    fingerprint_of,
    group_sums,
    is_held_out,
    plain_gain,
    provable_in_a_year,
    read_list,
)
from propensity.trying.sentences import (
    brought_text,
    folder_headline,
    money_lines,
    noticed,
)

# Of all scored users, groups of so many have one probability in the folder.
GROUPS = 50
# These lists follow no season, however many buyers are known.
NEVER = 2**62


def write_week(
    target: str,
    folder: Path,
    *,
    share: float | None,
    top: int | None,
    key: str | None,
    never: Path | None,
    jobs_in: str | None,
    label_event: str | None,
    now: datetime,
    agrees: Callable[[str], bool],
    cost_per_contact: float | None,
    margin: float | None,
) -> dict[str, Any]:
    """
    Write the list of the week and the page of a folder, and judge the lists before.

    Args:
        share: Of the users, that is held out; None for the folder's.
        top: How many users a list has; None for the folder's.
        key: Of the control group; None for the folder's own.
        never: A file of ids that are never listed.
        agrees: As of ``try_export``.

    Returns:
        The answer: ``is_new`` tells whether a list was written.

    Raises:
        NoData: A list is due, and the export lacks days of it.
    """
    with locked(folder):
        state = read_lists(folder)
        if state is not None:
            share = state.bound.control_share if share is None else share
            top = state.bound.listed if top is None else top
        if share is None:
            raise RequestError(
                f"{folder} has no list yet, so that the first one needs the share of "
                "its control group",
                hint="Add --control 30%",
                field="control",
            )
        control = draw_control(share, folder, key, is_first=state is None)
        left_out = [] if never is None else read_ids(never)
        with open_trial(target, label_event, jobs_in=jobs_in, now=now) as trial:
            state = _bound_lists(folder, state, trial, control, top)
            if not _is_due(trial, state, now=now):
                return {**_answer(folder, state), "is_new": False}
            lacked = _final_lists(trial, state)
            reaching = _reaching_back(trial, lacked)
            tried = train_here(reaching, agrees=agrees)
            state = _counted(reaching, state, lacked)
            currency = currency_of(tried.trial)
        meant = _never_listed(tried.people, left_out, control, state)
        people = tried.people[~tried.people["user_id"].isin(meant)]
        listed = best(people, tried.trial, control, top=state.bound.listed)
        week = _week(tried, listed, state, cost_per_contact)
        week = write_list(folder, week, listed)
        state = structs.replace(state, weeks=[*state.weeks, week])
        who = tried.who(listed["user_id"])
        whole_files.write_whole(folder / REPORT, tried.page(who).encode())
        answer = {**told(tried), **_answer(folder, state), "is_new": True}
        answer["who_words"] = traits_text(who)
        answer["provable"] = ""
        if len(state.weeks) == 1:
            answer["provable"] = provable_in_a_year(listed, control.share)
        answer["never"] = None
        if never is not None:
            answer["never"] = {"ids": len(set(left_out)), "found": len(meant)}
        together = _together(state, cost_per_contact, margin, currency)
        return _written(folder, state, trial, answer, together)


def judge_list(
    target: str,
    folder: Path,
    *,
    judge: Path,
    key: str | None,
    jobs_in: str | None,
    now: datetime,
    agrees: Callable[[str], bool],
    cost_per_contact: float | None,
    margin: float | None,
) -> dict[str, Any]:
    """
    Take a list of ``--scores`` into a folder, and judge what is final by now.

    Args:
        judge: The list, whose groups the folder's key has drawn.
        key: As are other arguments, as of ``write_week``.
    """
    taken = read_list(judge)
    share = taken.control_share
    with locked(folder):
        state = read_lists(folder)
        # A list of --scores has its key beside it.
        keys = folder if (folder / KEY).exists() else judge.parent
        control = draw_control(share, keys, key, is_first=False)
        _check_drawn(taken, control, judge)
        with open_trial(target, taken.label_event, jobs_in=jobs_in, now=now) as trial:
            if taken.horizon_days != trial.use_case.horizon_days:
                raise RequestError(
                    f"{judge} is of {plural(taken.horizon_days, 'day')}, and "
                    f"{trial.use_case.name} of {trial.use_case.horizon_days}",
                    hint="Set PROPENSITY_USE_CASE as it was when it was written",
                    field="judge",
                )
            top = None if state is None else state.bound.listed
            state = _bound_lists(folder, state, trial, control, top)
            state = _with_taken(state, taken, folder)
            lacked = _final_lists(trial, state)
            reaching = _reaching_back(trial, lacked)
            known_users = None
            currency = trial.use_case.currency
            # Of a final list that lacks no day, the outcomes are read.
            if not all(lacked.values()):
                reaching, _ = read_agreed(reaching, agrees)
                known_users = _check_found(reaching, taken, judge)
                currency = currency_of(reaching)
            state = _counted(reaching, state, lacked)
        if key is None and keys != folder:
            whole_files.write_whole(folder / KEY, (keys / KEY).read_bytes())
        answer = {
            **_answer(folder, state),
            "judged": str(judge),
            "since": taken.as_of,
            "known_on": trial.timeframe.known_on(taken.as_of),
            "listed": len(taken.rows),
            "found": known_users,
        }
        together = _together(state, cost_per_contact, margin, currency)
        return _written(folder, state, trial, answer, together)


def forget(folder: Path, file: Path, *, key: str | None) -> dict[str, Any]:
    """Remove the users of a file from all lists of a folder, and from those to come."""
    ids = read_ids(file)
    with locked(folder):
        state = read_lists(folder)
        if state is None:
            raise RequestError(
                f"{folder} has no lists", hint="Check the path", field="folder"
            )
        share = state.bound.control_share
        control = draw_control(share, folder, key, is_first=False)
        before = sum(len(week.members) for week in state.weeks)
        users = users_meant(state, ids)
        state, found_users, unread = without_users(folder, state, users)
        after = sum(len(week.members) for week in state.weeks)
        marks = {fingerprint_of(user, control) for user in users}
        state = structs.replace(state, forgotten=sorted(marks.union(state.forgotten)))
        write_state(folder, state)
        return {
            "ids": len(users),
            "found": len(found_users),
            "removed": before - after,
            "unread": unread,
        }


def _bound_lists(
    folder: Path,
    state: Lists | None,
    trial: ExportTrial,
    control: Control,
    top: int | None,
) -> Lists:
    """Return what a folder has; refuse what could not be added up with its lists."""
    settings = trial.settings
    bound = Bound(
        export=trial.export.name,
        user_column=settings.user_column,
        label_event=event_of(trial),
        horizon_days=trial.use_case.horizon_days,
        require_consent=settings.require_consent,
        control_share=control.share,
        key=control.fingerprint,
        listed=BEST if top is None else top,
    )
    if state is None:
        return Lists(bound=bound)
    check_bound(state, bound, folder)
    return state


def _is_due(trial: ExportTrial, state: Lists, *, now: datetime) -> bool:
    """
    Tell whether the next list can be written, each Monday's once.

    Raises:
        NoData: It is due by the clock, and the export lacks its days.
    """
    last = trial.as_of - timedelta(days=1)
    is_there = True
    if state.weeks:
        before = state.number_of(state.weeks[-1].as_of)
        is_there = state.number_of(trial.as_of) > before
        is_awaited = now.date() >= state.weeks[0].as_of + (before + 1) * WEEK
        if not is_there and not is_awaited:
            return False
    if (now.date() - last).days - 1 > EXPORT_STOPPED_DAYS:
        raise NoData(
            f"{trial.export.name} has stopped: its last whole day is {last}, and no "
            "list is written of users who may have bought since",
            hint="Check in Google Analytics, Admin, BigQuery links, whether the export "
            "is still linked and within its limit",
        )
    if not is_there:
        raise NoData(
            f"a list is due, and {trial.export.name} ends on {last}",
            hint=f"Run it again when the table of {trial.as_of} is there; a list that "
            "is a day late still counts for its Monday",
        )
    return True


def _final_lists(trial: ExportTrial, state: Lists) -> dict[date, list[date]]:
    """Return the days that final lists lack, by those that are not counted yet."""
    lacked = {}
    for week in state.weeks:
        is_final = trial.timeframe.is_matured(week.as_of, today=trial.as_of)
        if week.counted is None and is_final:
            lacked[week.as_of] = outcome_days_without(trial, week.as_of)
    return lacked


def _reaching_back(
    trial: ExportTrial, lacked: Mapping[date, Sequence[date]]
) -> ExportTrial:
    """Return a trial that also reads what lists long ago were scored and judged by."""
    first_day = trial.days[0]
    for as_of, days in lacked.items():
        if not days:
            first_day = min(first_day, trial.use_case.first_day(as_of))
    return replace(trial, first_day=first_day)


def _counted(
    trial: ExportTrial, state: Lists, lacked: Mapping[date, Sequence[date]]
) -> Lists:
    """Read the outcomes of final lists, and note days that others lack."""
    as_ofs = [as_of for as_of, days in lacked.items() if not days]
    buyers = {}
    paid: dict[date, dict[str, float | None]] = {}
    if as_ofs:
        use_case = trial.use_case
        window = use_case.window(trial.settings, as_ofs, today=trial.as_of)
        rows = trial.warehouse.rows(use_case.statement("trial_buyers"), window)
        for row in rows:
            if trial.timeframe.is_covered(row["as_of"], trial.export.shards.days):
                buyers[row["as_of"]] = row["buyers"]
        paid = paid_by_date(trial, as_ofs)
    weeks = []
    for week in state.weeks:
        counted = week.counted
        if week.as_of in paid:
            sums = group_sums(new_members(state, week), paid[week.as_of])
            counted = Counted(buyers=buyers.get(week.as_of), sums=sums)
        missing = lacked.get(week.as_of, ())
        weeks.append(structs.replace(week, counted=counted, lacked=missing))
    return structs.replace(state, weeks=weeks)


def _never_listed(
    people: pd.DataFrame, left_out: Sequence[str], control: Control, state: Lists
) -> set[str]:
    """Return scored users who are left out, or were forgotten."""
    scored = set(people["user_id"])
    never = {id_meant(user, scored) for user in left_out}
    forgotten = set(state.forgotten)
    if forgotten:
        for user in scored:
            if fingerprint_of(user, control) in forgotten:
                never.add(user)
    return {user for user in never if user is not None}


def _check_drawn(taken: ReadList, control: Control, file: Path) -> None:
    """Refuse a list whose groups another key has drawn, or somebody changed."""
    for user, group in zip(taken.rows[USER], taken.rows[GROUP], strict=True):
        if (group == CONTROL) != is_held_out(str(user), control):
            raise RequestError(
                f"{file} has user {user} in group {group}, where its control group's "
                "key did not draw them",
                hint=f"Put the {KEY} with which it was written beside it, and restore "
                "its column group",
                field="judge",
            )


def _with_taken(state: Lists, taken: ReadList, folder: Path) -> Lists:
    """Return a state with a list that was written elsewhere, in its place."""
    for week in state.weeks:
        is_counted = week.as_of > taken.as_of and week.counted is not None
        if week.as_of == taken.as_of or is_counted:
            raise RequestError(
                f"{folder} has a list of {week.as_of} already, so that users of one of "
                f"{taken.as_of} would count twice",
                hint="Judge it in a folder of its own",
                field="judge",
            )
    members = members_of(taken.rows)
    held_out = sum(member.is_control for member in members)
    week = WeeklyList(
        as_of=taken.as_of,
        contacted=len(members) - held_out,
        held_out=held_out,
        members=members,
    )
    weeks = sorted([*state.weeks, week], key=lambda each: each.as_of)
    return structs.replace(state, weeks=weeks)


def _check_found(trial: ExportTrial, taken: ReadList, file: Path) -> int:
    """Return how many users of a list the export knows; refuse a list of others."""
    users = {"users": taken.rows[USER].to_list()}
    [seen] = trial.warehouse.rows(statement("trial_listed"), users)
    if not seen["users"]:
        raise RequestError(
            f"{trial.export.name} has no event of the users of {file}",
            hint="Name the export that the list is of, and set PROPENSITY_USER_COLUMN "
            "as it was",
            field="judge",
        )
    return int(seen["users"])


def _week(
    tried: TriedExport,
    listed: pd.DataFrame,
    state: Lists,
    cost_per_contact: float | None,
) -> WeeklyList:
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
        contacted=len(listed) - held_out,
        held_out=held_out,
        users=len(chance),
        chances=chances,
        range=expected,
        members=members_of(listed),
        cost_per_contact=cost_per_contact,
    )


def _evaluated(week: WeeklyList) -> Sequence[season.EvaluatedWeek]:
    """Return what a week tells of how much weeks differ; nothing while it is open."""
    if week.counted is None or week.counted.buyers is None or not week.users:
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
    state: Lists,
    cost_per_contact: float | None,
    margin: float | None,
    currency: str,
) -> dict[str, Any]:
    """Return what the lists brought whose outcomes are final, each user once."""
    rows: list[dict[str, Any]] = []
    sums: list[GroupSums] = []
    costs = []
    shown = _figures([], state, progress=1.0)
    for week in state.weeks:
        if week.counted is not None:
            sums += [group for group in week.counted.sums if group.users]
            costs.append(_cost_of(week, cost_per_contact))
            first = rows[0]["week"] if rows else week.as_of
            progress = progress_at(week.as_of, first=first, until=None)
            shown = _figures(sums, state, progress=progress)
            rows.append({**shown.columns(), "week": week.as_of, "planned_until": None})
    cost = None
    if None not in costs:
        cost = sum(filter(None, costs))
    left = None
    if rows and verdict_of(shown.verdict).is_undecided:
        left = weeks_left(rows)
    return {
        "lists": len(rows),
        "lists_left": left,
        "contacted": shown.treated_users,
        "verdict": shown.verdict,
        "cost": cost,
        **plain_gain(brought(shown, sums, cost=cost, margin=margin)),
        "currency": currency,
    }


def _figures(sums: Sequence[GroupSums], state: Lists, *, progress: float) -> Figures:
    return figures(
        sums,
        control_share=state.bound.control_share,
        errors=errors_at(progress),
        is_final=True,
    )


def _cost_of(week: WeeklyList, cost_per_contact: float | None) -> float | None:
    """Return what the first contacts of a list cost, by the price of its own date."""
    assert week.counted is not None
    price = week.cost_per_contact
    if price is None:
        price = cost_per_contact
    contacted = sum(each.users for each in week.counted.sums if not each.is_control)
    return None if price is None else price * contacted


def _answer(folder: Path, state: Lists) -> dict[str, Any]:
    newest = state.weeks[-1]
    number = state.number_of(newest.as_of)
    return {
        "list": str(folder / newest.name),
        "contacts": str(folder / newest.contact_name),
        "as_of": newest.as_of,
        "label_event": state.bound.label_event,
        "next": state.weeks[0].as_of + (number + 1) * WEEK,
        "contacted": newest.contacted,
        "held_out": newest.held_out,
        "without_list": state.without_list,
        "not_judged": [
            {"as_of": week.as_of, "lacked": week.lacked}
            for week in state.weeks
            if week.lacked
        ],
        "differences": differences(folder, state),
        "page": str(folder / PAGE),
    }


def _written(
    folder: Path,
    state: Lists,
    trial: ExportTrial,
    answer: dict[str, Any],
    together: dict[str, Any],
) -> dict[str, Any]:
    """Write the page, then what the folder has; return the whole answer."""
    final_on = None
    if not together["lists"]:
        final_on = trial.timeframe.known_on(state.weeks[0].as_of)
    page = fill_template(
        "propensity.trying",
        "folder.html",
        {
            "bound": state.bound,
            "weeks": state.weeks[::-1],
            "together": together,
            "said": brought_text(together, state.bound.label_event, final_on),
            "headline": folder_headline(together),
            "money": money_lines(together),
            "noticed": noticed(answer),
            "next": answer["next"],
            "who": answer.get("who_words", ""),
            "whole": count,
            "currency": together["currency"],
        },
    )
    whole_files.write_whole(folder / PAGE, page.encode())
    write_state(folder, state)
    return {**answer, "together": together, "final_on": final_on}
