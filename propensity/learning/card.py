"""
The card of a model version: its data, its training and its metrics, in plain values.

``card.json`` is the complete card; the metadata row, the page and the answer of
00-ModelTraining show parts of it. Dates are texts, as in ISO 8601.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity import drift
from propensity.fraud.alerts import money
from propensity.learning import gate, profile
from propensity.learning.gate import Verdict
from propensity.learning.report.version import version_page
from propensity.learning.rows import Slice
from propensity.learning.trained import Holdout, Trained
from propensity.learning.value import Valued
from propensity.models.encoding import numbers_of
from propensity.registry.versions import (
    HTML,
    JSON,
    PARQUET,
    Published,
    libraries,
    parquet_of,
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

# Files by their names in the column ``card``.
_FILES = {
    "model": MODEL,
    "preprocessor": PREPROCESSOR,
    "value": VALUE,
    "dataset": DATASET,
    "card": CARD,
    "report": REPORT,
}


def card(
    use_case: UseCase,
    trained: Trained,
    verdict: Verdict,
    *,
    version: int | None,
    rows: pa.Table,
    as_of: date,
    data_until: date | None,
    settle_days: int,
    chosen: Mapping[str, Any],
    trained_at: datetime,
    bytes_billed: int,
    valued: Valued | None = None,
) -> dict[str, Any]:
    """
    Return the card of a version.

    Its ``metrics``, ``curves`` and ``importance`` are of the holdout, and ``drift`` is
    what publications are compared with. Of events only there are ``outcomes``,
    ``alerts`` by rate, and ``savings``. ``calibration`` is "none": models are published
    as they are fitted, and versions of earlier releases have others.

    Args:
        version: None for a trial, which has no number.
        rows: All rows of its training and test.
        data_until: End of the days read from the export; None for another source.
        settle_days: Days waited for late rows.
        chosen: Values of the use case's own parameters.
        valued: The model of amounts; None without amounts.
    """
    parts, held = trained.parts, trained.holdout
    split = {
        "train": [str(day) for day in parts.split.train],
        "calibrate": [str(day) for day in parts.split.calibrate],
        "holdout": [str(day) for day in parts.split.holdout],
    }
    learned = [*split["train"], *split["calibrate"]]
    if parts.every is not None:
        learned += split["holdout"]
    positives, negatives = (parts.every or parts.before).per_row
    train_rows = parts.blocks[0].first if parts.blocks else len(parts.before)
    if parts.unlabelled is not None and trained.is_anomaly:
        train_rows = len(parts.unlabelled[0])
    return {
        "use_case": use_case.name,
        "title": use_case.title,
        "outcome": use_case.outcome,
        "span": use_case.span,
        "entity": use_case.entity,
        "unit": use_case.money,
        "model_version": version,
        "trained_at": trained_at.replace(microsecond=0).isoformat(),
        "as_of": str(as_of),
        "data_until": None if data_until is None else str(data_until),
        "lookback_days": use_case.lookback_days,
        "horizon_days": use_case.horizon_days,
        "settle_days": settle_days,
        "statement_parameters": dict(chosen),
        "split": split,
        "trained_until": max(learned, default=None),
        "rows": {
            "train": train_rows,
            "calibrate": len(parts.choosing),
            "holdout": len(held.rows),
        },
        # Several rows of a user weigh less than one together.
        "negative_sampling_rate": min(1.0, 1 / negatives),
        "positive_sampling_rate": min(1.0, 1 / positives),
        "algorithm": trained.chosen.algorithm,
        "parameters": dict(trained.chosen.parameters),
        "members": [member.name for member in trained.members],
        "calibration": "none",
        "candidates": [
            {
                "name": one.candidate.name,
                "algorithm": one.candidate.algorithm,
                "parameters": dict(one.candidate.parameters),
                **one.metrics,
                "chosen": one.candidate.name == trained.chosen.name,
            }
            for one in trained.judged
        ],
        "blocks": len(parts.blocks),
        "is_anomaly": trained.is_anomaly,
        "is_warm": trained.is_warm,
        "metrics": held.metrics.columns(),
        "curves": dict(held.curves),
        "baseline": {
            "name": f"{use_case.baseline.feature} alone",
            "roc_auc": held.baseline_roc_auc,
            "words": gate.beside_baseline(
                trained, f"{use_case.baseline.feature} alone"
            ),
        },
        "importance": list(held.importance),
        "outcomes": dict(parts.outcomes),
        "alerts": list(held.at_rates),
        "savings": None
        if held.savings is None
        else _numbers(held.savings.columns() | {"baseline_saved": held.baseline_saved}),
        "value": None
        if valued is None
        else {
            "algorithm": valued.algorithm,
            "losses": dict(valued.losses),
            "mean_amount": valued.model.mean,
            "buyers": valued.buyers,
            "predicted": float(valued.predicted),
            "observed": float(valued.observed),
        },
        "verdict": verdict_entry(verdict),
        "features": dict(use_case.features),
        "profile": profile.described(rows, use_case.features),
        "drift": None
        if parts.every is None
        else _reference(parts.every, held, use_case, snapshots=len(split["holdout"])),
        "libraries": libraries(),
        "bytes_billed": bytes_billed,
    }


def _reference(
    every: Slice, held: Holdout, use_case: UseCase, *, snapshots: int
) -> dict[str, Any]:
    """
    Return what publications are compared with.

    Where a user has rows of several moments, a publication has those of the last one
    alone, which so stands for all.
    """
    rows, score, features = every.rows, held.probability, dict(use_case.features)
    if elapsed := use_case.stream.elapsed:
        del features[elapsed]
        hours = numbers_of(rows[elapsed])
        is_last = hours == hours.max()
        weight = every.weight / every.weight[is_last].sum() * every.weight.sum()
        place = rows.column_names.index("weight")
        rows = rows.set_column(place, "weight", pa.array(weight))
        rows = rows.filter(pa.array(is_last))
        score = score[is_last[len(every) - len(score) :]]
    return drift.reference(rows, features, score=score, snapshots=snapshots)


def _numbers(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns with money as numbers."""
    return {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in columns.items()
    }


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
            f"{name}_difference_low": difference.low,
            f"{name}_difference_high": difference.high,
        }
    return entry


def columns(
    card: Mapping[str, Any], published: Published, *, run_id: str, seconds: float
) -> dict[str, Any]:
    """
    Return the version's row of ``ma_model_training_metadata``.

    Args:
        published: Where its files are, and their checksums.
        seconds: From the request to now.
    """
    shown = {
        name: entry for name, entry in card.items() if name not in ("profile", "curves")
    }
    files = {
        kind: {"object": published.objects[name], "sha256": published.checksums[name]}
        for kind, name in _FILES.items()
        if name in published.objects
    }
    savings, verdict = card["savings"] or {}, card["verdict"]
    trained_at = datetime.fromisoformat(card["trained_at"])
    same = {**shown, **card["metrics"]}
    return {
        **{name: same[name] for name in TRAINING_METADATA.types if name in same},
        "run_id": run_id,
        "trained_at": trained_at,
        "training_date": trained_at.date(),
        "as_of": date.fromisoformat(card["as_of"]),
        "alert_threshold": savings.get("alert_threshold"),
        "saved": money(savings["saved"]) if savings else None,
        "promoted": verdict["promoted"],
        "compared_version": verdict["compared_version"],
        "verdict": verdict["reason"],
        **{
            f"{kind}_{entry}": files[kind][entry]
            for kind in ("model", "preprocessor")
            for entry in ("object", "sha256")
        },
        "seconds": seconds,
        "card": json.dumps({**shown, "files": files}),
    }


def answer(card: Mapping[str, Any], objects: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer of 00-ModelTraining about the version."""
    metrics = {name: one for name, one in card["metrics"].items() if name != "lift"}
    of_events = {
        "is_warm": card["is_warm"],
        "alerts": card["alerts"],
        "cost": card["savings"] or {},
        "outcomes": card["outcomes"],
    }
    return {
        "model_version": card["model_version"],
        "promoted": card["verdict"]["promoted"],
        "verdict": card["verdict"]["reason"],
        "algorithm": card["algorithm"],
        "calibration": card["calibration"],
        "rows": card["rows"],
        "split": card["split"],
        "holdout": metrics,
        **(of_events if card["outcomes"] else {}),
        "value": card["value"],
        "objects": dict(objects),
    }


def nameless(rows: pa.Table) -> pa.Table:
    """
    Return rows with numbers in the place of ids of users and events.

    A snapshot never changes while its version exists, so it must hold nothing that a
    user can have removed. Rows of a user share a number. The numbers are drawn at
    random, and rows are in their order, because ids in order could be named again by
    anyone who has a list of them.
    """
    names = [name for name in (USER, EVENT) if name in rows.column_names]
    for name in names:
        encoded = pc.dictionary_encode(rows[name].combine_chunks())
        numbers = np.random.default_rng().permutation(len(encoded.dictionary))
        numbered = pa.array(numbers, pa.int64()).take(encoded.indices)
        rows = rows.set_column(rows.column_names.index(name), name, numbered)
    return rows.sort_by([(name, "ascending") for name in names])


def to_json(card: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``card.json``."""
    return json.dumps(card, indent=1).encode()


def files(
    card: Mapping[str, Any],
    trained: Trained,
    rows: pa.Table,
    *,
    valued: Valued | None = None,
) -> dict[str, tuple[bytes, str]]:
    """Return bytes and content type of a version's files, by name."""
    binary = "application/octet-stream"
    contents = {
        MODEL: (pickled(trained.live.classifier), binary),
        PREPROCESSOR: (pickled(trained.live.preprocessor), binary),
        DATASET: (parquet_of(nameless(rows)), PARQUET),
        CARD: (to_json(card), JSON),
        REPORT: (version_page(card).encode(), HTML),
    }
    if valued is not None:
        contents[VALUE] = (pickled(valued.model), binary)
    return contents


def undecided(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is before the pointer moves, and if the run ends here."""
    why = f"interrupted before it was recorded whether it is live: {row['verdict']}"
    return {**row, "promoted": None, "verdict": why}
