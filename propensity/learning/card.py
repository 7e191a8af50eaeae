"""
The card of a model version: its data, its training and its metrics.

``card.json`` is the complete card; the metadata row, the page and the answer of
00-ModelTraining show parts of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from propensity import drift
from propensity.learning import profile
from propensity.learning.alerts import money
from propensity.learning.gate import Verdict
from propensity.learning.thresholds import Metrics
from propensity.learning.trained import Trained
from propensity.learning.value import Valued
from propensity.registry.objects import parquet_of
from propensity.registry.versions import (
    HTML,
    JSON,
    PARQUET,
    Published,
    libraries,
    pickled,
)
from propensity.tables.every import EVENT, TRAINING_METADATA, USER
from propensity.usecases import UseCase

MODEL = "model.joblib"
PREPROCESSOR = "preprocessor.joblib"
VALUE = "value.joblib"
DATASET = "dataset/rows.parquet"
CARD = "card.json"
REPORT = "report.html"

Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Card:
    """
    A model version, in plain values.

    Attributes:
        statement_parameters: The use case's own, as set.
        split: As-of dates by use: train, calibrate, holdout.
        trained_until: Newest as-of date that the serving model has learned from.
        rows: Number by use.
        negative_sampling_rate, positive_sampling_rate: Share of the source's rows that
            were read, by label.
        members: Names of the candidates that the model is the mean of.
        calibrations: Log loss by calibration.
        candidates: Name, algorithm, parameters and metrics of each.
        metrics: Of the holdout.
        baseline: Name and ROC AUC of the ranking by one feature.
        outcomes: Numbers of rows with and without a label; of events only.
        alerts: Of events, recall and cost by alert rate; and what alerts save.
        value: The model of amounts, and the sums predicted and observed; None without.
        verdict: ``promoted``, ``reason``, ``compared_version``, and differences.
        profile: The data set, described.
        drift: What publications are compared with; None for events.
    """

    use_case: str
    title: str
    outcome: str
    span: str
    entity: str
    model_version: int
    trained_at: datetime
    as_of: date
    data_until: date | None
    lookback_days: int
    horizon_days: int
    settle_days: int
    statement_parameters: Mapping[str, Any]
    split: Mapping[str, Sequence[date]]
    trained_until: date | None
    rows: Mapping[str, int]
    train_base_rate: float | None
    negative_sampling_rate: float
    positive_sampling_rate: float
    algorithm: str
    parameters: Mapping[str, Any]
    members: Sequence[str]
    calibration: str
    calibrations: Mapping[str, float]
    candidates: Entries
    blocks: int
    is_anomaly: bool
    is_warm: bool
    metrics: Metrics
    curves: Mapping[str, Any]
    baseline: Mapping[str, Any]
    importance: Entries
    outcomes: Mapping[str, int]
    alerts: Entries
    savings: Mapping[str, Any] | None
    value: Mapping[str, Any] | None
    verdict: Mapping[str, Any]
    features: Mapping[str, str]
    profile: Mapping[str, Any]
    drift: Mapping[str, Any] | None
    libraries: Mapping[str, str]
    bytes_billed: int

    def to_json(self) -> bytes:
        """Return the bytes of ``card.json``."""
        return json.dumps(asdict(self), indent=1, default=_plain).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Card:
        """
        Read a ``card.json``.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        entries = json.loads(data)
        days = {
            name: entries[name] and date.fromisoformat(entries[name])
            for name in ("as_of", "data_until", "trained_until")
        }
        return cls(
            **{field.name: entries[field.name] for field in fields(cls)}
            | days
            | {
                "trained_at": datetime.fromisoformat(entries["trained_at"]),
                "split": {
                    part: [date.fromisoformat(day) for day in dates]
                    for part, dates in entries["split"].items()
                },
                "metrics": Metrics(**entries["metrics"]),
            }
        )

    def columns(
        self, published: Published, *, run_id: str, seconds: float
    ) -> dict[str, Any]:
        """
        Return the version's row of ``ma_model_training_metadata``.

        Args:
            published: Where its files are, and their checksums.
            seconds: From the request to now.
        """
        card = {
            name: entry
            for name, entry in asdict(self).items()
            if name not in ("profile", "curves")
        }
        files = {
            kind: {
                "object": published.objects[name],
                "sha256": published.checksums[name],
            }
            for kind, name in _FILES.items()
            if name in published.objects
        }
        savings = self.savings or {}
        same = {**card, **self.metrics.columns()}
        return {
            **{name: same[name] for name in TRAINING_METADATA.types if name in same},
            "run_id": run_id,
            "training_date": self.trained_at.date(),
            "train_rows": self.rows["train"],
            "alert_threshold": savings.get("alert_threshold"),
            "saved": money(savings["saved"]) if savings else None,
            **{name: self.verdict[name] for name in ("promoted", "compared_version")},
            "verdict": self.verdict["reason"],
            **{
                f"{kind}_{entry}": files[kind][entry]
                for kind in ("model", "preprocessor")
                for entry in ("object", "sha256")
            },
            "seconds": seconds,
            "card": json.dumps({**card, "files": files}, default=_plain),
        }

    def answer(self, published: Published) -> dict[str, Any]:
        """Return the answer of 00-ModelTraining about the version."""
        metrics = {
            name: entry
            for name, entry in self.metrics.columns().items()
            if name != "lift"
        }
        of_events = (
            {
                "is_warm": self.is_warm,
                "alerts": self.alerts,
                "cost": self.savings or {},
                "outcomes": self.outcomes,
            }
            if self.outcomes
            else {}
        )
        return {
            "model_version": self.model_version,
            "promoted": self.verdict["promoted"],
            "verdict": self.verdict["reason"],
            "algorithm": self.algorithm,
            "calibration": self.calibration,
            "rows": self.rows,
            "split": self.split,
            "holdout": metrics,
            **of_events,
            "value": self.value,
            "objects": dict(published.objects),
        }


# Files by their names in the column ``card``.
_FILES = {
    "model": MODEL,
    "preprocessor": PREPROCESSOR,
    "value": VALUE,
    "dataset": DATASET,
    "card": CARD,
    "report": REPORT,
}


def _plain(value: Any) -> Any:
    """Return dates as texts and money as numbers."""
    return float(value) if isinstance(value, Decimal) else str(value)


def card(
    use_case: UseCase,
    trained: Trained,
    verdict: Verdict,
    *,
    version: int,
    rows: pa.Table,
    as_of: date,
    data_until: date | None,
    settle_days: int,
    chosen: Mapping[str, Any],
    trained_at: datetime,
    bytes_billed: int,
    valued: Valued | None = None,
) -> Card:
    """
    Return the card of a version.

    Args:
        rows: All rows of its training and test.
        data_until: End of the days read from the export; None for another source.
        settle_days: Days waited for late rows.
        chosen: Values of the use case's own parameters.
        valued: The model of amounts; None without amounts.
    """
    parts, held = trained.parts, trained.holdout
    split = parts.split
    learned = [*split.train, *split.calibrate]
    learned += split.holdout if parts.every is not None else ()
    first = parts.unlabelled[0] if parts.unlabelled and trained.is_anomaly else None
    judged = len(parts.choosing)
    train_rows = (
        len(first)
        if first is not None
        else len(parts.every or parts.before)
        - judged
        - (len(held.rows) if parts.every else 0)
    )
    fitting = parts.every or parts.before
    saved = None
    if held.savings is not None:
        saved = {**held.savings.columns(), "baseline_saved": held.baseline_saved}
    return Card(
        use_case=use_case.name,
        title=use_case.title,
        outcome=use_case.outcome,
        span=use_case.span,
        entity=use_case.entity,
        model_version=version,
        trained_at=trained_at.replace(microsecond=0),
        as_of=as_of,
        data_until=data_until,
        lookback_days=use_case.lookback_days,
        horizon_days=use_case.horizon_days,
        settle_days=settle_days,
        statement_parameters=dict(chosen),
        split={
            "train": list(split.train),
            "calibrate": list(split.calibrate),
            "holdout": list(split.holdout),
        },
        trained_until=max(learned, default=None),
        rows={"train": train_rows, "calibrate": judged, "holdout": len(held.rows)},
        train_base_rate=fitting.base_rate if len(fitting) else None,
        negative_sampling_rate=parts.sampling[0],
        positive_sampling_rate=parts.sampling[1],
        algorithm=trained.chosen.algorithm,
        parameters=dict(trained.chosen.parameters),
        members=[member.name for member in trained.members],
        calibration=trained.calibration,
        calibrations=dict(trained.calibrations),
        candidates=[
            {
                "name": one.candidate.name,
                "algorithm": one.candidate.algorithm,
                "parameters": dict(one.candidate.parameters),
                **one.metrics,
                "chosen": one.candidate.name == trained.chosen.name,
            }
            for one in trained.judged
        ],
        blocks=len(parts.blocks),
        is_anomaly=trained.is_anomaly,
        is_warm=trained.is_warm,
        metrics=held.metrics,
        curves=held.curves,
        baseline={
            "name": f"{use_case.baseline.feature} alone",
            "roc_auc": held.baseline_roc_auc,
        },
        importance=list(held.importance),
        outcomes=dict(parts.outcomes),
        alerts=list(held.at_rates),
        savings=saved,
        value=None
        if valued is None
        else {
            "algorithm": valued.algorithm,
            "losses": dict(valued.losses),
            "mean_amount": valued.model.mean,
            "buyers": valued.buyers,
            "predicted": float(valued.predicted),
            "observed": float(valued.observed),
        },
        verdict=verdict_entry(verdict),
        features=dict(use_case.features),
        profile=profile.described(rows, use_case.features),
        drift=_drift(trained, use_case),
        libraries=libraries(),
        bytes_billed=bytes_billed,
    )


def _drift(trained: Trained, use_case: UseCase) -> dict[str, Any] | None:
    parts, held = trained.parts, trained.holdout
    if parts.every is None:
        return None
    return drift.reference(
        parts.every.rows,
        use_case.features,
        newest=held.rows.rows,
        score=held.probability,
        snapshots=len(parts.split.holdout),
    )


def verdict_entry(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a card has it."""
    entry: dict[str, Any] = {
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "compared_version": verdict.compared_version,
        "level_difference": verdict.level_difference,
    }
    for name, difference in verdict.differences.items():
        entry |= {
            f"{name}_difference": difference.estimate,
            f"{name}_difference_low": difference.interval[0],
            f"{name}_difference_high": difference.interval[1],
        }
    return entry


def nameless(rows: pa.Table) -> pa.Table:
    """
    Return rows with numbers in the place of ids of users and events.

    A snapshot never changes while its version exists, so it must hold nothing that a
    user can have removed. Rows of a user share a number, which means nothing outside
    the snapshot: no key leads back.
    """
    for name in (USER, EVENT):
        if name in rows.column_names:
            numbers = pc.dictionary_encode(rows[name].combine_chunks()).indices
            place = rows.column_names.index(name)
            rows = rows.set_column(place, name, numbers.cast(pa.int64()))
    return rows


def files(
    full: Card, trained: Trained, rows: pa.Table, *, valued: Valued | None = None
) -> dict[str, tuple[bytes, str]]:
    """Return bytes and content type of a version's files, by name."""
    from propensity.learning.report.version import version_page

    binary = "application/octet-stream"
    contents = {
        MODEL: (pickled(trained.served.classifier), binary),
        PREPROCESSOR: (pickled(trained.served.preprocessor), binary),
        DATASET: (parquet_of(nameless(rows)), PARQUET),
        CARD: (full.to_json(), JSON),
        REPORT: (version_page(full).encode(), HTML),
    }
    if valued is not None:
        contents[VALUE] = (pickled(valued.model), binary)
    return contents


def undecided(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is before the pointer moves, and stays if nobody goes on."""
    why = f"cut off before it was recorded whether it serves: {row['verdict']}"
    return {**row, "promoted": None, "verdict": why}
