"""
The lift of audiences as a run: treated users against those held out, week by week.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity import tables
from propensity.errors import MissingTable
from propensity.gcp.columns import record
from propensity.learning.lift import GROUP, Week, figures
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import check_consent, status

if TYPE_CHECKING:
    from propensity.runs.run import Run

Key = tuple[str, date]
Row = Mapping[str, Any]


def lifts(run: Run) -> list[dict[str, Any]]:
    """
    Return the rows of ``ma_audience_lift`` for weeks without final figures.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums.
    """
    if run.use_case.scores_events:
        return []
    newest = run.as_of - run.timeframe.horizon
    try:
        open_weeks = run.rows("audience_weeks", since=newest - CATCH_UP, until=newest)
    except MissingTable as error:
        # A deployment that was set up before there were audiences.
        run.say(f"no audiences: {error.message}")
        return []
    if not open_weeks:
        return []
    check_consent(run)
    keys = {_key(row) for row in open_weeks}
    before = run.rows("audience_sums_before")
    known = _known(run, keys, before)
    # What was mature once is so in a run for an earlier date, too.
    final = {_key(row) for row in before if row["status"] == "final"}
    rows = []
    for audience in sorted({audience for audience, _ in keys}):
        weeks = [
            replace(
                known[key],
                is_final=_status(run, key[1], was_final=key in final) == "final",
            )
            for key in sorted(known)
            if key[0] == audience
        ]
        # Figures are of all users so far: those after an open week change with it.
        since = min(week for of, week in keys if of == audience)
        rows += [
            {
                "use_case": run.use_case.name,
                "audience": audience,
                **_times(run, row["week"], was_final=(audience, row["week"]) in final),
                **row,
            }
            for row in figures(weeks)
            if row["week"] >= since
        ]
    return rows


def _key(row: Row) -> Key:
    return row["audience"], row["week"]


def _known(run: Run, keys: set[Key], before: Sequence[Row]) -> dict[Key, Week]:
    """Return the sums of all weeks: those from ``before`` as stored, open ones anew."""
    known = {
        _key(row): Week(
            week=row["week"], control_share=row["control_share"], sums=row["sums"]
        )
        for row in before
    }
    weeks = sorted({week for _, week in keys})
    shares: dict[str, float] = {}
    groups: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for row in run.warehouse.rows(
        run.use_case.statement("audience_outcomes"),
        run.use_case.window(run.settings, weeks, today=run.as_of)
        | {"use_case": run.use_case.name},
    ):
        sums = {column: row[column] for column in ("is_control", *GROUP)}
        groups[_key(row)].append(sums)
        shares[row["audience"]] = row["control_share"]
    for (audience, _), week in known.items():
        shares.setdefault(audience, week.control_share)
    # A week may bring members who all were some before.
    return known | {
        key: Week(
            week=key[1],
            control_share=shares[key[0]],
            sums=sorted(groups[key], key=lambda group: group["is_control"]),
        )
        for key in keys
        if key[0] in shares
    }


def _status(run: Run, week: date, *, was_final: bool) -> str:
    return "final" if was_final else status(run, week)


def _times(run: Run, week: date, *, was_final: bool) -> dict[str, Any]:
    return {
        "week_end": week + run.timeframe.horizon,
        "status": _status(run, week, was_final=was_final),
        "evaluated_at": run.began_at,
    }


def publish_lifts(run: Run, rows: list[dict[str, Any]]) -> None:
    """Append the rows of these audiences and weeks; readers see the newest of each."""
    if not rows:
        return
    same = {"run_id": run.run_id}
    written = [record({**row, **same}, tables.AUDIENCE_LIFT) for row in rows]
    run.check_lease()
    run.warehouse.write(tables.AUDIENCE_LIFT, pa.concat_tables(written))


def answered(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [{k: v for k, v in row.items() if k != "sums"} for row in rows]
    return {"audiences": shown} if shown else {}
