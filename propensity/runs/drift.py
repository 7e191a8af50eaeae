"""
Drift as runs watch it: 01 before it publishes, 03 once outcomes are known.

Watching never stops a run: if the table cannot be read or written, the log says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity import tables
from propensity.drift import alarms
from propensity.drift.alarms import Earlier, Thing
from propensity.drift.level import Level
from propensity.drift.sketch import NUMBER, Sketch, Value
from propensity.errors import PropensityError
from propensity.timeframe import DAY

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.runs.predict import Scored
    from propensity.runs.run import Run

# Publications that are looked back at.
_LOOK_BACK = timedelta(weeks=13)
# Only so many alarms get a line of their own in the log; the table has all.
_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is watched of a publication."""

    things: Sequence[Thing]
    model_version: int

    @property
    def alarms(self) -> list[Thing]:
        """The things with an alarm, by rank."""
        raised = [thing for thing in self.things if thing.is_alarm]
        return sorted(
            raised,
            key=lambda thing: alarms.rank(
                is_single=thing.sketch is None,
                distance=thing.distance,
                name=thing.name,
            ),
        )

    @property
    def messages(self) -> list[str]:
        """What the first alarms say."""
        return [alarm.message for alarm in self.alarms[:_LINES]]

    def answer(self) -> dict[str, Any]:
        """Return what the answer of 01 says."""
        return {"drift": _summary(self.alarms)}


def watch(run: Run, model: Serving, scored: Scored) -> Watched:
    """
    Compare a publication with those before it, before it is published.

    Args:
        model: That scored.
        scored: Its scores, with the sketches of their features.
    """
    sketches = scored.sketches
    scores = sketches.scores()
    things = alarms.publication(sketches, scores, users=scored.users)
    earlier = _earlier(run, since=run.as_of - _LOOK_BACK, until=run.as_of)
    things = alarms.watched(things, earlier, model_version=model.version)
    watched = Watched(things=things, model_version=model.version)
    run.log_fields["drift_alarms"] = len(watched.alarms)
    _say(run, watched.alarms)
    return watched


def publish(run: Run, watched: Watched) -> None:
    """Append the rows of ``ma_drift``."""
    rows = [
        {**_row(run, run.as_of, thing), "model_version": watched.model_version}
        for thing in watched.things
    ]
    _append(run, rows)


def evaluated(run: Run, weeks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Compare evaluated weeks with what was expected of them, and write that.

    Args:
        run: A run of 03, after its rows are published.
        weeks: Rows of ``ma_model_evaluation``, oldest first. Weeks whose probabilities
            were published for another one say nothing.

    Returns:
        The alarms of the newest week that has some of its own, for the answer.
    """
    known = [
        row
        for row in weeks
        if row.get("residual_log_odds") is not None
        and row.get("prediction_as_of") == row["week"]
    ]
    if run.use_case.scores_events or not known:
        return _summary([])
    earlier = _earlier(
        run, since=known[0]["week"] - _LOOK_BACK, until=known[-1]["week"] + DAY
    )
    key = (alarms.OUTCOME, alarms.CALIBRATION)
    before = {week.as_of: week.things[key] for week in earlier if key in week.things}
    is_known = known[-1]["week"] in before
    rows = []
    for row in known:
        lacked = Level(
            value=row["residual_log_odds"], error=row["residual_standard_error"]
        )
        older = [
            before[day] for day in sorted(before, reverse=True) if day < row["week"]
        ]
        thing = before[row["week"]] = alarms.outcome(lacked, older[: alarms.MEMORY])
        rows.append(
            {
                **_row(run, row["week"], thing),
                "model_version": row["model_version"],
            }
        )
    _append(run, rows)
    # Of an older week they were said by the run that knew its outcomes first: the week
    # of a publication that was cut short by a late day is never the newest.
    is_said = is_known and known[-1]["week"] != weeks[-1]["week"]
    raised = [thing] if thing.is_alarm and not is_said else []
    run.log_fields["drift_alarms"] = len(raised)
    _say(run, raised)
    return _summary(raised)


def _earlier(run: Run, *, since: date, until: date) -> list[Earlier]:
    """Return publications of some dates, newest first; ``until`` is not included."""
    try:
        rows = run.rows("drift_before", since=since, until=until - DAY)
    except PropensityError as error:
        run.warn(f"drift not compared: {error}")
        return []
    by_date: dict[date, list[Any]] = {}
    for row in rows:
        by_date.setdefault(row["as_of"], []).append(row)
    return [_publication(as_of, rows) for as_of, rows in sorted(by_date.items())[::-1]]


def _publication(as_of: date, rows: Sequence[Any]) -> Earlier:
    version = max(
        (row["model_version"] for row in rows if row["thing"] != alarms.OUTCOME),
        default=-1,
    )
    things = {(row["thing"], row["name"]): _thing(row) for row in rows}
    return Earlier(as_of=as_of, model_version=version, things=things)


def _thing(row: Any) -> Thing:
    sketch = level = None
    if row["kind"] is not None:
        is_number = row["kind"] == NUMBER
        counts: dict[Value, int] = {
            float(part["value"]) if is_number else part["value"]: part["users"]
            for part in row["counts"]
        }
        sketch = Sketch(
            kind=row["kind"], users=row["users"], missing=row["missing"], counts=counts
        )
    if row["value"] is not None:
        level = Level(value=row["value"], error=row["error"])
    return Thing(thing=row["thing"], name=row["name"], sketch=sketch, level=level)


def _row(run: Run, as_of: date, thing: Thing) -> dict[str, Any]:
    """Return a thing as a row of ``ma_drift``."""
    row: dict[str, Any] = {
        "use_case": run.use_case.name,
        "as_of": as_of,
        "thing": thing.thing,
        "name": thing.name,
        "run_id": run.run_id,
        "written_at": run.began_at,
        "distance": thing.distance,
        "noise": thing.noise,
        "threshold": thing.threshold,
        "is_alarm": thing.is_alarm,
        "cause": thing.cause or None,
        "message": thing.message or None,
        "counts": [],
    }
    if thing.sketch is not None:
        row |= {
            "kind": thing.sketch.kind,
            "users": thing.sketch.users,
            "missing": thing.sketch.missing,
            "counts": [
                {
                    "value": repr(value) if isinstance(value, float) else value,
                    "users": n,
                }
                for value, n in thing.sketch.counts.items()
            ],
        }
    if thing.level is not None:
        row |= {"value": thing.level.value, "error": thing.level.error}
    return row


def _append(run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows; readers see those of the newest run."""
    schema = tables.DRIFT.arrow_schema()
    try:
        run.check_lease()
        written = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        run.warehouse.write(tables.DRIFT, written)
    except PropensityError as error:
        run.warn(f"drift not written: {error}")


def _say(run: Run, raised: Sequence[Thing]) -> None:
    """Write a line of the log for the first alarms."""
    for alarm in raised[:_LINES]:
        run.warn(
            f"drift: {alarm.message}",
            use_case=run.use_case.name,
            as_of=run.as_of,
            cause=alarm.cause,
            name=alarm.name,
        )


def _summary(raised: Sequence[Thing]) -> dict[str, Any]:
    return {
        "alarms": [
            {"cause": alarm.cause, "name": alarm.name, "message": alarm.message}
            for alarm in raised
        ],
    }
