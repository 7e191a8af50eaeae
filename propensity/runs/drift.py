"""
Drift as 01 watches it: a publication beside the training of the model that scored.

Watching never stops a run: if the table cannot be read or written, the log says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from propensity import drift
from propensity.drift import Signal
from propensity.errors import PropensityError
from propensity.tables import every as tables

if TYPE_CHECKING:
    from propensity.registry.loading import Serving
    from propensity.runs.predict import Scored
    from propensity.runs.run import Run

# Only so many alarms get a line of their own in the log; the table has all.
_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is watched of a publication."""

    signals: Sequence[Signal]
    model_version: int

    @property
    def alarms(self) -> list[Signal]:
        """The alarms, the largest difference first."""
        raised = [signal for signal in self.signals if signal.is_alarm]
        return sorted(raised, key=lambda signal: (-(signal.psi or 99.0), signal.name))

    @property
    def messages(self) -> list[str]:
        """What the first alarms say."""
        return [alarm.message for alarm in self.alarms[:_LINES]]

    def answer(self) -> dict[str, Any]:
        """Return what the answer of 01 says."""
        return {
            "drift": {
                "alarms": [
                    _alarm(one.cause, one.name, one.message) for one in self.alarms
                ]
            }
        }


def observed(model: Serving) -> drift.Observed:
    """Return a counter of the publication's features, beside the model's training."""
    return drift.Observed(model.metadata["card"].get("drift"))


def watch(run: Run, model: Serving, scored: Scored) -> Watched:
    """Compare a publication with the training, before it is published."""
    watched = Watched(signals=scored.observed.signals(), model_version=model.version)
    run.log_fields["drift_alarms"] = len(watched.alarms)
    for alarm in watched.alarms[:_LINES]:
        _warn(run, alarm.cause, alarm.name, alarm.message)
    return watched


def publish(run: Run, watched: Watched) -> None:
    """Append the rows of ``ma_drift``; readers see those of the newest run."""
    rows = [_row(run, signal, watched.model_version) for signal in watched.signals]
    try:
        run.check_lease()
        schema = tables.DRIFT.arrow_schema()
        run.warehouse.write(tables.DRIFT, pa.Table.from_pylist(rows, schema=schema))
    except PropensityError as error:
        run.warn(f"drift not written: {error}")


def evaluated(run: Run, weeks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the alarm of the newest evaluated week, for the answer of 03."""
    message = drift.season_alarm(weeks[-1]) if weeks else None
    run.log_fields["drift_alarms"] = int(message is not None)
    if message is None or run.use_case.scores_events:
        return {"alarms": []}
    _warn(run, "season", "calibration", message)
    return {"alarms": [_alarm("season", "calibration", message)]}


def _alarm(cause: str, name: str, message: str) -> dict[str, str]:
    return {"cause": cause, "name": name, "message": message}


def _warn(run: Run, cause: str, name: str, message: str) -> None:
    run.warn(
        f"drift: {message}",
        use_case=run.use_case.name,
        as_of=run.as_of,
        cause=cause,
        name=name,
    )


def _row(run: Run, signal: Signal, model_version: int) -> dict[str, Any]:
    """Return a signal as a row of ``ma_drift``."""
    row = asdict(signal)
    shares = [row.pop(name) for name in ("bins", "expected", "observed")]
    before, now = (share[-1] if share else None for share in shares[1:])
    return {
        **row,
        "missing_before": before,
        "missing": now,
        "bins": [
            dict(zip(("value", "expected", "observed"), one, strict=True))
            for one in zip(*shares, strict=True)
        ],
        "use_case": run.use_case.name,
        "as_of": run.as_of,
        "model_version": model_version,
        "run_id": run.run_id,
        "written_at": run.began_at,
        "is_alarm": signal.is_alarm,
        "cause": signal.cause or None,
        "message": signal.message or None,
    }
