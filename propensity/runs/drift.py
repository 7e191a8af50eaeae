"""
Drift as runs watch it: 01 before it publishes, 03 once outcomes are known.

Watching never stops a run: if the table cannot be read or written, the log says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity import tables
from propensity.drift import alarms, estimate
from propensity.drift.alarms import Advice, Earlier, Thing
from propensity.drift.estimate import Estimate, Past
from propensity.drift.learned import Trained
from propensity.drift.level import Level
from propensity.drift.sketch import NUMBER, Sketch, Value
from propensity.errors import PropensityError
from propensity.statements import statement
from propensity.timeframe import DAY

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.runs.predict import Staged
    from propensity.runs.run import Run

# Publications that are looked back at, so that enough of them have no alarm.
_LOOK_BACK = timedelta(weeks=13)
_YEAR, _NEAR = timedelta(weeks=52), timedelta(days=3)
# Only so many alarms get a line of their own in the log; the table has all.
_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is watched of a publication, and the ROC AUC to be expected of it."""

    things: Sequence[Thing]
    model_version: int
    estimated: Estimate | None

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
    def advice(self) -> Advice:
        """What to do about them."""
        return alarms.advice(self.alarms)

    @property
    def messages(self) -> list[str]:
        """What the first alarms say."""
        return [alarm.message for alarm in self.alarms[:_LINES]]

    def answer(self) -> dict[str, Any]:
        """Return what the answer of 01 says."""
        return {
            "estimated_roc_auc": None
            if self.estimated is None
            else self.estimated.value,
            "drift": _summary(self.alarms, self.advice),
        }


def watch(run: Run, model: Serving, staged: Staged) -> Watched:
    """
    Compare a publication with those before it, before it is published.

    Args:
        model: That scored.
        staged: Its scores, with the sketches of their features.
    """
    sketches = staged.sketches
    scores = sketches.scores()
    raw = estimate.roc_auc(scores, staged.log_odds_shift, seed=run.settings.seed)
    things = alarms.publication(sketches, scores, users=staged.users)
    earlier = _earlier(run, since=run.as_of - _LOOK_BACK, until=run.as_of)
    a_year_ago = run.as_of - _YEAR
    # At least one publication of those that come once a week, on whatever weekday.
    last_year = _earlier(run, since=a_year_ago - _NEAR, until=a_year_ago + _NEAR + DAY)
    things = alarms.watched(
        things,
        [week.publication for week in earlier],
        model_version=model.version,
        trained=_trained(model.metadata),
        last_year=last_year[0].publication if last_year else None,
    )
    estimated = None
    if raw is not None:
        past = [
            week.past
            for week in earlier
            if week.past is not None
            and week.publication.as_of + run.timeframe.horizon <= run.as_of
        ]
        estimated = estimate.corrected(
            raw, past, as_of=run.as_of, model_version=model.version
        )
        level = Level(value=raw.value, error=raw.error)
        things.append(Thing(thing=alarms.SCORE, name=alarms.RANKING, level=level))
    watched = Watched(things=things, model_version=model.version, estimated=estimated)
    run.log_fields["drift_alarms"] = len(watched.alarms)
    _say(run, watched.alarms, watched.advice)
    return watched


def _trained(metadata: Mapping[str, Any]) -> Trained | None:
    """Return when a version was trained; None where the record does not say it."""
    as_of, until = metadata.get("as_of"), metadata.get("trained_until")
    if as_of is None or until is None:
        return None
    return Trained(as_of=as_of, snapshot=until)


def publish(run: Run, watched: Watched) -> None:
    """Write the rows of ``ma_drift``, in the place of an earlier run's of the date."""
    rows = [
        {
            **_row(run, run.as_of, thing, watched.advice),
            "model_version": watched.model_version,
            **(
                {
                    "estimated_roc_auc": watched.estimated.value,
                    "estimated_roc_auc_low": watched.estimated.low,
                    "estimated_roc_auc_high": watched.estimated.high,
                }
                if watched.estimated is not None
                and thing.key == (alarms.SCORE, alarms.RANKING)
                else {}
            ),
        }
        for thing in watched.things
    ]
    _replace(run, rows)


def evaluated(run: Run, weeks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Compare evaluated weeks with what was expected of them, and write that.

    Args:
        run: A run of 03, after its rows are published.
        weeks: Rows of ``ma_model_evaluation``, oldest first. Weeks whose probabilities
            were published for another one say nothing.

    Returns:
        The alarms of the newest week that has some of its own, and what to do, for the
        answer.
    """
    known = [
        row
        for row in weeks
        if row.get("residual_log_odds") is not None
        and row.get("prediction_as_of") == row["week"]
    ]
    if run.use_case.scores_events or not known:
        return _summary([], alarms.advice([]))
    earlier = _earlier(
        run, since=known[0]["week"] - _LOOK_BACK, until=known[-1]["week"] + _NEAR
    )
    before = {week.publication.as_of: week for week in earlier}
    newest = before.get(known[-1]["week"])
    is_known = newest is not None and any(
        thing == alarms.OUTCOME for thing, _ in newest.publication.things
    )
    rows, things, advice = [], [], alarms.advice([])
    for row in known:
        older = [week for day, week in sorted(before.items()) if day < row["week"]]
        place = before.get(row["week"])
        things = _outcomes(row, place, older[::-1])
        kept = {} if place is None else dict(place.publication.things)
        kept |= {thing.key: thing for thing in things}
        # What was broken when the week was scored is behind its outcomes, too.
        advice = alarms.advice([*kept.values()])
        measured = row["roc_auc"]
        rows += [
            {
                **_row(run, row["week"], thing, advice),
                "model_version": row["model_version"],
                "roc_auc": measured if thing.name == alarms.RANKING else None,
            }
            for thing in things
        ]
        if place is not None:
            before[row["week"]] = replace(
                place, publication=replace(place.publication, things=kept)
            )
    _replace(run, rows)
    # Of an older week they were said by the run that knew its outcomes first: the week
    # of a publication that was cut short by a late day is never the newest.
    is_said = is_known and known[-1]["week"] != weeks[-1]["week"]
    raised = [thing for thing in things if thing.is_alarm and not is_said]
    if not raised:
        advice = alarms.advice([])
    run.log_fields["drift_alarms"] = len(raised)
    _say(run, raised, advice)
    return _summary(raised, advice)


def _outcomes(
    row: Mapping[str, Any], place: _Week | None, older: Sequence[_Week]
) -> list[Thing]:
    """Return what a week's outcomes say: of its odds and, if expected, of its ranks."""

    def known(name: str) -> list[Thing]:
        key = (alarms.OUTCOME, name)
        past = [week.publication.things.get(key) for week in older]
        return [thing for thing in past if thing is not None][: alarms.MEMORY]

    error = row["residual_standard_error"]
    lacked = Level(value=row["residual_log_odds"], error=error)
    things = [
        alarms.outcome(alarms.CALIBRATION, lacked, known(alarms.CALIBRATION)),
    ]
    if place is not None and place.expected is not None and row["roc_auc"] is not None:
        off = row["roc_auc"] - place.expected.value
        apart = Level(value=off, error=place.expected.error)
        things.append(
            alarms.outcome(
                alarms.RANKING,
                apart,
                known(alarms.RANKING),
                estimated=place.expected.value,
            )
        )
    return things


@dataclass(frozen=True, kw_only=True)
class _Week:
    """An earlier publication, and its ROC AUC as expected and as measured."""

    publication: Earlier
    expected: Estimate | None
    past: Past | None


def _earlier(run: Run, *, since: date, until: date) -> list[_Week]:
    """Return publications of some dates, newest first; ``until`` is not included."""
    try:
        rows = run.rows("drift_before", since=since, until=until - DAY)
    except PropensityError as error:
        run.warn(f"drift not compared: {error}")
        return []
    by_date: dict[date, list[Any]] = {}
    for row in rows:
        by_date.setdefault(row["as_of"], []).append(row)
    return [_week(as_of, rows) for as_of, rows in sorted(by_date.items())[::-1]]


def _week(as_of: date, rows: Sequence[Any]) -> _Week:
    things = {(row["thing"], row["name"]): _thing(row) for row in rows}
    version = max(
        (row["model_version"] for row in rows if row["thing"] != alarms.OUTCOME),
        default=-1,
    )
    raw = things.get((alarms.SCORE, alarms.RANKING))
    measured = next(
        (row["roc_auc"] for row in rows if row["roc_auc"] is not None), None
    )
    past = None
    if raw is not None and raw.level is not None and measured is not None:
        level = raw.level
        past = Past(
            as_of=as_of,
            model_version=version,
            estimated=level.value,
            error=level.error,
            measured=measured,
        )
    expected = next(
        (
            Estimate(
                value=row["estimated_roc_auc"],
                low=row["estimated_roc_auc_low"],
                high=row["estimated_roc_auc_high"],
            )
            for row in rows
            if row["estimated_roc_auc"] is not None
        ),
        None,
    )
    return _Week(
        publication=Earlier(as_of=as_of, model_version=version, things=things),
        expected=expected,
        past=past,
    )


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
    return Thing(
        thing=row["thing"],
        name=row["name"],
        sketch=sketch,
        level=level,
        is_alarm=bool(row["is_alarm"]),
        message=row["message"] or "",
        weeks=row["weeks"] or 0,
    )


def _row(run: Run, as_of: date, thing: Thing, advice: Advice) -> dict[str, Any]:
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
        "weeks": thing.weeks or None,
        "advice": advice.action if thing.is_alarm else None,
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


def _replace(run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, then remove those of earlier runs about the same."""
    schema = tables.DRIFT.arrow_schema()
    key = {
        "use_case": run.use_case.name,
        "weeks": sorted({row["as_of"] for row in rows}),
        "things": sorted({row["thing"] for row in rows}),
        "run_id": run.run_id,
        "written_at": run.began_at,
    }
    try:
        run.check_lease()
        written = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        run.warehouse.write(tables.DRIFT, written)
        run.warehouse.execute(statement("clear_replaced_drift"), key)
    except PropensityError as error:
        run.warn(f"drift not written: {error}")


def _say(run: Run, raised: Sequence[Thing], advice: Advice) -> None:
    """Write a line of the log for the first alarms."""
    for alarm in raised[:_LINES]:
        run.warn(
            f"drift: {alarm.message}",
            use_case=run.use_case.name,
            as_of=run.as_of,
            cause=alarm.cause,
            name=alarm.name,
            advice=advice.action,
        )


def _summary(raised: Sequence[Thing], advice: Advice) -> dict[str, Any]:
    return {
        "alarms": [
            {"cause": alarm.cause, "name": alarm.name, "message": alarm.message}
            for alarm in raised
        ],
        "advice": advice.action,
        "reason": advice.reason or None,
    }
