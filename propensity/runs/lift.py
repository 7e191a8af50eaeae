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

from propensity.gcp.columns import record
from propensity.learning.lift import GROUP, Week, figures
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import check_consent, status
from propensity.tables import every as tables

if TYPE_CHECKING:
    from propensity.runs.run import Run

Key = tuple[str, date]
Row = Mapping[str, Any]


def lifts(run: Run) -> list[dict[str, Any]]:
    """
    Return the rows of ``ma_audience_lift`` for weeks without final metrics.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums.
    """
    if run.use_case.scores_events:
        return []
    newest = run.as_of - run.timeframe.horizon
    open_weeks = run.rows("audience_weeks", since=newest - CATCH_UP, until=newest)
    if not open_weeks:
        return []
    check_consent(run)
    keys = {_key(row) for row in open_weeks}
    every = {"since": date(1970, 1, 1), "until": date(9999, 1, 1)}
    before = run.rows("audience_lifts", **every)
    # What was mature once is so in a run for an earlier date, too.
    final = {_key(row) for row in before if row["status"] == "final"}
    known = {
        key: replace(week, is_final=key in final or status(run, key[1]) == "final")
        for key, week in _known(run, keys, before).items()
    }
    rows = []
    for audience in sorted({audience for audience, _ in keys}):
        weeks = [known[key] for key in sorted(known) if key[0] == audience]
        # Figures are of all users so far: those after an open week change with it.
        since = min(week for of, week in keys if of == audience)
        rows += [
            {
                "use_case": run.use_case.name,
                "audience": audience,
                "week_end": row["week"] + run.timeframe.horizon,
                "status": "final"
                if known[audience, row["week"]].is_final
                else "provisional",
                "evaluated_at": run.began_at,
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
    shares = {audience: week.control_share for (audience, _), week in known.items()}
    groups: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    window = run.use_case.window(
        run.settings, sorted({week for _, week in keys}), today=run.as_of
    )
    for row in run.warehouse.rows(
        run.use_case.statement("audience_outcomes"),
        {**window, "use_case": run.use_case.name},
    ):
        sums = {column: row[column] for column in ("is_control", *GROUP)}
        groups[_key(row)].append(sums)
        shares[row["audience"]] = row["control_share"]
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


def publish_lifts(run: Run, rows: Sequence[Row]) -> None:
    """Append the rows of these audiences and weeks; readers see the newest of each."""
    if not rows:
        return
    table = tables.AUDIENCE_LIFT
    written = [record({**row, "run_id": run.run_id}, table) for row in rows]
    run.check_lease()
    run.warehouse.write(table, pa.concat_tables(written))


def answered(rows: Sequence[Row]) -> dict[str, Any]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [{k: v for k, v in row.items() if k != "sums"} for row in rows]
    return {"audiences": shown} if shown else {}
