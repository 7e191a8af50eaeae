"""
Drift as 01 watches it: a publication beside the training of the model that scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from propensity import drift
from propensity.drift import Observed, Signal
from propensity.errors import PropensityError
from propensity.tables import every as tables

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.runs.run import Run

# Only so many alarms get a line of their own in the log; the table has all.
_LINES = 5


def observed(model: Serving) -> Observed:
    """Return a counter of the publication's features, beside the model's training."""
    return Observed(model.metadata["card"].get("drift"))


def watch(run: Run, counted: Observed) -> list[Signal]:
    """Compare what was scored with the training; log and return, alarms first."""
    signals = sorted(
        counted.signals(),
        key=lambda one: (not one.is_alarm, -(one.psi or 99.0), one.name),
    )
    alarms = [signal for signal in signals if signal.is_alarm]
    run.log_fields["drift_alarms"] = len(alarms)
    for alarm in alarms[:_LINES]:
        _warn(run, **_alarm(alarm))
    return signals


def causes(signals: Sequence[Signal]) -> list[str]:
    """Return what the first alarms say."""
    return [signal.message for signal in signals[:_LINES] if signal.message]


def answer(signals: Sequence[Signal]) -> dict[str, Any]:
    """Return what the answer of 01 says."""
    return {"alarms": [_alarm(signal) for signal in signals if signal.is_alarm]}


def publish(run: Run, signals: Sequence[Signal], *, version: int) -> None:
    """
    Append the rows of ``ma_drift``; readers see those of the newest run.

    What was published stays so where that fails, which a warning says.
    """
    if not signals:
        return
    same = {
        "use_case": run.use_case.name,
        "as_of": run.as_of,
        "model_version": version,
        "run_id": run.run_id,
        "written_at": run.began_at,
    }
    rows = [{**asdict(signal), **same} for signal in signals]
    try:
        run.warehouse.write(tables.DRIFT, rows)
    except PropensityError as error:
        run.warn(f"drift is not in its table: {error.message}")


def evaluated(run: Run, weeks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the alarm of the newest evaluated week, for the answer of 03."""
    message = drift.season_alarm(weeks[-1]) if weeks else None
    if message is None or run.use_case.scores_events:
        run.log_fields["drift_alarms"] = 0
        return {"alarms": []}
    run.log_fields["drift_alarms"] = 1
    alarm = {"cause": "season", "name": "calibration", "message": message}
    _warn(run, **alarm)
    return {"alarms": [alarm]}


def _alarm(signal: Signal) -> dict[str, Any]:
    return {"cause": signal.cause, "name": signal.name, "message": signal.message}


def _warn(run: Run, *, message: str, **fields: Any) -> None:
    run.warn(f"drift: {message}", use_case=run.use_case.name, as_of=run.as_of, **fields)
