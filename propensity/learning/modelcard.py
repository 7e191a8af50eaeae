"""
The card of a model version: its data, its training and its figures, as plain values.

``card.json`` is the complete card; the metadata row, the report and the answer of
00-ModelTraining show parts of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from propensity.learning import cost, decile, description, value
from propensity.learning.bootstrap import Difference
from propensity.learning.report.page import training_page
from propensity.registry.objects import parquet_of
from propensity.registry.versions import (
    HTML,
    JSON,
    PARQUET,
    Published,
    libraries,
    pickled,
)
from propensity.tables import EVENT, TRAINING_METADATA, USER

if TYPE_CHECKING:
    from propensity.learning.fit import Trained
    from propensity.learning.gate import Verdict
    from propensity.learning.portable import Exported
    from propensity.usecases import UseCase

MODEL = "model.joblib"
PREPROCESSOR = "preprocessor.joblib"
MEASURED = "measured.joblib"
ESTIMATOR = "estimator.joblib"
VALUE = "value.joblib"
DATASET = "dataset/rows.parquet"
CARD = "card.json"
REPORT = "report.html"

# Files that not every version has, by the beginning of their columns. A shipped model
# has no data set.
_OPTIONAL = {
    "measured": MEASURED,
    "estimator": ESTIMATOR,
    "value": VALUE,
    "dataset": DATASET,
}

_MONEY = {
    column.name for column in TRAINING_METADATA.columns if column.type == "NUMERIC"
}

Card = dict[str, Any]


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
    estimator: Exported | None = None,
) -> Card:
    """
    Return the card of a version, JSON-serialisable except for dates.

    Args:
        rows: All rows of its training and test.
        data_until: End of the days read from the export; None for another source.
        settle_days: Days waited for late rows.
        chosen: Values of the use case's own parameters.
        estimator: Of the model that serves; None where none was tried.
    """
    split, costed = trained.split, trained.costed
    return {
        "use_case": use_case.name,
        "title": use_case.title,
        "outcome": use_case.outcome,
        "span": use_case.span,
        "entity": use_case.entity,
        "model_version": version,
        "trained_at": trained_at.isoformat(timespec="seconds"),
        "as_of": as_of,
        "data_until": data_until,
        "lookback_days": use_case.lookback_days,
        "horizon_days": use_case.horizon_days,
        "settle_days": settle_days,
        "statement_parameters": dict(chosen),
        "split": {
            "train": list(split.train),
            "calibrate": list(split.calibrate),
            "holdout": list(split.holdout),
        },
        "rows": dict(trained.rows),
        "train_base_rate": trained.train_base_rate,
        "negative_sampling_rate": trained.sampling[0],
        "positive_sampling_rate": trained.sampling[1],
        "algorithm": trained.chosen.algorithm,
        "parameters": dict(trained.chosen.parameters),
        "is_anomaly": trained.is_anomaly,
        "is_warm": trained.is_warm,
        "calibration": trained.calibration,
        "calibrations": [
            {"name": name, "log_loss": loss}
            for name, loss in trained.calibrations.items()
        ],
        "candidates": [
            {
                "name": fit.candidate.name,
                "algorithm": fit.candidate.algorithm,
                "parameters": dict(fit.candidate.parameters),
                **fit.figures,
                "fit_seconds": round(fit.fit_s, 3),
                "chosen": fit.candidate.name == trained.chosen.name,
            }
            for fit in trained.candidates
        ],
        "choice": _choice(trained),
        "fits": trained.fits or None,
        **({} if trained.fit_rows is None else {"fit_rows": trained.fit_rows}),
        "trained_until": _trained_until(trained),
        "quality": dict(trained.quality),
        "alerts": list(trained.alerts),
        **({} if costed is None else {"cost": cost.plain(costed.figures)}),
        **value.card(trained.valued),
        "outcomes": dict(trained.outcomes),
        "curves": dict(trained.curves),
        "baselines": [
            {"name": name, "roc_auc": area} for name, area in trained.baselines.items()
        ],
        "importance": list(trained.importance),
        "top_decile": _top_decile(use_case, trained),
        "verdict": _verdict(verdict),
        **({} if estimator is None else {"estimator": estimator.note}),
        "features": dict(use_case.features),
        "dataset": description.describe(rows, use_case.features),
        "libraries": libraries(),
        "bytes_billed": bytes_billed,
    }


def _top_decile(use_case: UseCase, trained: Trained) -> list[Card]:
    """Return what the holdout's best users have in common; none of events."""
    if trained.kind.has_alerts or not len(trained.probability):
        return []
    return decile.in_common(
        trained.holdout.rows,
        use_case.features,
        trained.probability,
        weight=trained.holdout.weight,
    )


def _trained_until(trained: Trained) -> date | None:
    """Return the newest as-of date that the serving model has learned from."""
    split = trained.split
    learned = [*split.train, *split.calibrate]
    if trained.measured is not None:
        learned += split.holdout
    return max(learned, default=None)


def _choice(trained: Trained) -> Card | None:
    """Return what the forward blocks have shown; None if there were none."""
    choice = trained.choice
    if choice is None:
        return None
    return {
        "blocks": [
            {"fitted_until": block.fitting[-1], "judged": list(block.judged)}
            for block in trained.blocks
        ],
        "rows": len(choice.rows),
        "members": [member.name for member in choice.recipe.members],
        "is_refitted": trained.measured is not None,
    }


def _verdict(verdict: Verdict) -> Card:
    entry: Card = {
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "compared_version": verdict.compared_version,
    }
    for name, difference in verdict.differences.items():
        entry |= difference.columns(f"{name}_difference")
    if verdict.level_difference is not None:
        entry["level_difference"] = verdict.level_difference
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
    full: Card,
    trained: Trained,
    rows: pa.Table,
    *,
    estimator: Exported | None = None,
) -> dict[str, tuple[bytes, str]]:
    """Return bytes and content type of a version's files, by name."""
    binary = "application/octet-stream"
    contents = {
        MODEL: (pickled(trained.model), binary),
        PREPROCESSOR: (pickled(trained.preprocessor), binary),
        DATASET: (parquet_of(nameless(rows)), PARQUET),
    }
    if trained.measured is not None:
        contents[MEASURED] = (pickled(trained.measured), binary)
    if trained.valued is not None:
        contents[VALUE] = (pickled(trained.valued.model), binary)
    if estimator is not None and estimator.data is not None:
        contents[ESTIMATOR] = (estimator.data, binary)
    text = json.dumps(full, indent=1, default=str)
    contents[CARD] = (text.encode(), JSON)
    page = training_page(json.loads(text))
    contents[REPORT] = (page.encode(), HTML)
    return contents


def metadata(full: Card, published: Published, *, seconds: float) -> dict[str, Any]:
    """
    Return a version's row of ``ma_model_training_metadata``.

    Args:
        published: Where its files are, and their checksums.
        seconds: From the request to now.
    """
    trained_at = datetime.fromisoformat(full["trained_at"])
    columns = {column.name for column in TRAINING_METADATA.columns}
    verdict = {key: value for key, value in full["verdict"].items() if key in columns}
    objects, checksums = published.objects, published.checksums
    plain = ("use_case", "model_version", "as_of", "lookback_days", "horizon_days")
    row = {
        **{name: full[name] for name in plain},
        # A shipped model was trained on another source.
        "data_until": full.get("data_until"),
        "settle_days": full["settle_days"],
        "training_date": trained_at.date(),
        "trained_at": trained_at,
        "train_as_ofs": full["split"]["train"],
        "calibration_as_ofs": full["split"]["calibrate"],
        "holdout_as_ofs": full["split"]["holdout"],
        "train_rows": full["rows"]["train"],
        "calibration_rows": full["rows"]["calibrate"],
        "train_base_rate": full["train_base_rate"],
        "negative_sampling_rate": full["negative_sampling_rate"],
        "positive_sampling_rate": full.get("positive_sampling_rate", 1.0),
        "algorithm": full["algorithm"],
        "parameters": json.dumps(full["parameters"]),
        "calibration": full["calibration"],
        "is_warm": full.get("is_warm", True),
        "alerts": json.dumps(full.get("alerts", [])),
        "candidates": json.dumps(full["candidates"]),
        "choice": json.dumps(full.get("choice"), default=str),
        "fits": full.get("fits"),
        "trained_until": full.get("trained_until"),
        **full["quality"],
        # A shipped model has none.
        **full.get("cost", {}),
        **value.row(full),
        "importance": json.dumps(full["importance"]),
        "top_decile": json.dumps(decile.strongest(full.get("top_decile") or [])),
        **verdict,
        "verdict": full["verdict"]["reason"],
        "features": json.dumps(full["features"]),
        "statement_parameters": json.dumps(full["statement_parameters"]),
        "model_object": objects[MODEL],
        "model_sha256": checksums[MODEL],
        "preprocessor_object": objects[PREPROCESSOR],
        "preprocessor_sha256": checksums[PREPROCESSOR],
        **{f"{kind}_object": objects.get(name) for kind, name in _OPTIONAL.items()},
        **{f"{kind}_sha256": checksums.get(name) for kind, name in _OPTIONAL.items()},
        "card_object": objects[CARD],
        "report_object": objects[REPORT],
        "libraries": json.dumps(full["libraries"]),
        "bytes_billed": full["bytes_billed"],
        "seconds": seconds,
    }
    return {
        name: cost.money(value) if name in _MONEY and value is not None else value
        for name, value in row.items()
    }


def undecided(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is before the pointer moves, and stays if nobody goes on."""
    why = f"cut off before it was recorded whether it serves: {row['verdict']}"
    return {**row, "promoted": None, "verdict": why}


def revision(verdict: Verdict, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of ``revise_verdict.sql`` for the row of a version."""
    none = Difference(0.0, 0.0, 0.0)
    compared = ("roc_auc", "log_loss", "pr_auc", "cost")
    return {
        **{name: row[name] for name in ("use_case", "training_date", "model_version")},
        "promoted": verdict.promoted,
        "verdict": verdict.reason,
        "compared_version": -1
        if verdict.compared_version is None
        else verdict.compared_version,
        "is_compared": bool(verdict.differences),
        "has_level": verdict.level_difference is not None,
        "level_difference": verdict.level_difference or 0.0,
        **{f"has_{name}": name in verdict.differences for name in compared[1:]},
        **{
            name: [difference.estimate, difference.low, difference.high]
            for name in compared
            for difference in [verdict.differences.get(name, none)]
        },
    }


def answer(full: Card, published: Published) -> Mapping[str, Any]:
    """Return the answer of 00-ModelTraining about a version."""
    quality = full["quality"]
    figures = (
        "users", "base_rate", "mean_probability", "precision", "recall", "f1",
        "roc_auc", "pr_auc", "brier", "log_loss", "calibration_error",
        "best_threshold", "users_at_best", "true_positives_at_best",
        "precision_at_best", "recall_at_best", "f1_at_best",
        "budget", "users_at_budget", "true_positives_at_budget",
        "precision_at_budget", "recall_at_budget", "f1_at_budget", "lift_at_budget",
    )  # fmt: skip
    event_fields = ("is_warm", "alerts", "cost", "outcomes") if full["outcomes"] else ()
    return {
        "model_version": full["model_version"],
        "promoted": full["verdict"]["promoted"],
        "verdict": full["verdict"]["reason"],
        "algorithm": full["algorithm"],
        "calibration": full["calibration"],
        "rows": full["rows"],
        "split": full["split"],
        "holdout": {name: quality.get(name) for name in figures},
        # Without a row held out nothing is known of the cost.
        **{name: full.get(name, {}) for name in event_fields},
        # None where outcomes have no amounts.
        "value": full.get("value"),
        "objects": dict(published.objects),
    }
