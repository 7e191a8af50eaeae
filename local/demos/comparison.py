"""
What the demo's weeks are worth together, beside simpler scores of the same rows.

Reads what the functions wrote; nothing of it is needed to run them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from propensity.edges.artifacts import sha256
from propensity.edges.warehouse import Warehouse
from propensity.errors import ArtifactError
from propensity.learning import metrics, season
from propensity.learning.data import slice_of
from propensity.registry.versions import unpickled
from propensity.settings import Settings
from propensity.usecases import UseCase

Floats = NDArray[np.float64]
_FIGURES = {
    "roc_auc": metrics.roc_auc,
    "pr_auc": metrics.pr_auc,
    "calibration_error": metrics.calibration_error,
}


@dataclass(frozen=True)
class Pooled:
    """
    All weeks' rows together.

    ``rows`` has as_of, user_id, probability, log_odds_shift and label; ``figures`` has
    each score's figures by its name.
    """

    rows: pa.Table
    figures: Mapping[str, Mapping[str, float | None]]
    users: int
    base_rate: float


def evaluations(
    warehouse: Warehouse, use_case: UseCase, weeks: Sequence[date]
) -> list[dict[str, Any]]:
    """Return the weeks' rows of ``ma_model_evaluation``, in order."""
    table = warehouse.table(
        "SELECT * FROM ma_model_evaluation"
        " WHERE use_case = @use_case AND week IN UNNEST(@weeks) ORDER BY week",
        {"use_case": use_case.name, "weeks": list(weeks)},
    )
    return list(table.to_pylist())


def pooled(
    warehouse: Warehouse,
    settings: Settings,
    use_case: UseCase,
    weeks: Sequence[date],
    *,
    versions: Mapping[int, date],
    bucket: Path,
) -> Pooled:
    """
    Join published probabilities with their outcomes, and compare.

    Args:
        warehouse: Where the functions wrote.
        settings: The functions' own.
        use_case: What was predicted.
        weeks: As-of dates of the publications.
        versions: Model versions trained meanwhile, in order, each with the first of
            these dates that came after it: logistic regression is fitted on each one's
            training rows, and scores from there on.
        bucket: Folder of the local bucket.
    """
    published = warehouse.table(
        "SELECT as_of, user_id, probability, log_odds_shift FROM ma_predictions_history"
        " WHERE use_case = @use_case AND as_of IN UNNEST(@weeks)",
        {"use_case": use_case.name, "weeks": list(weeks)},
    )
    known = warehouse.table(
        use_case.statement("training_rows"),
        {**use_case.window(settings, weeks), "maximum_rows": 10**9},
    )
    rows = published.join(known, ["as_of", "user_id"], join_type="inner").sort_by(
        [("as_of", "ascending"), ("user_id", "ascending")]
    )
    label = rows["label"].to_numpy()
    baseline = use_case.baseline
    value = pc.cast(rows[baseline.feature], pa.float64()).to_numpy()
    scored = {
        "the published probabilities": rows["probability"].to_numpy(),
        "without the season's shift": _unshifted(rows),
        "logistic regression, same rows": _logistic(
            warehouse, use_case, rows, versions=versions, bucket=bucket
        ),
    }
    figures: dict[str, dict[str, float | None]] = {
        name: _figures(probability, label) for name, probability in scored.items()
    }
    rank = _as_score(-value if baseline.ascending else value)
    alone = metrics.outcomes(rank, label)
    figures[f"{baseline.feature} alone"] = {"roc_auc": metrics.roc_auc(alone)}
    return Pooled(rows, figures, len(rows), float(label.mean()))


def _unshifted(rows: pa.Table) -> Floats:
    """Return the probabilities as the models gave them."""
    probability = rows["probability"].to_numpy().copy()
    shift = pc.fill_null(rows["log_odds_shift"], 0.0).to_numpy()
    for applied in np.unique(shift):
        is_shifted = shift == applied
        probability[is_shifted] = season.apply(probability[is_shifted], -applied)
    return np.asarray(probability, dtype=np.float64)


def _figures(probability: Floats, label: NDArray[Any]) -> dict[str, float | None]:
    seen = metrics.outcomes(probability, label)
    figures = {name: measure(seen) for name, measure in _FIGURES.items()}
    return {**figures, "mean_probability": float(probability.mean())}


def _logistic(
    warehouse: Warehouse,
    use_case: UseCase,
    rows: pa.Table,
    *,
    versions: Mapping[int, date],
    bucket: Path,
) -> Floats:
    """Return probabilities of logistic regression, fitted at each training."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from propensity.models.encoding import to_frame

    features: Any = dict(use_case.features)
    probabilities = np.full(len(rows), np.nan)
    for version, first in versions.items():
        recorded = warehouse.table(
            "SELECT train_as_ofs, calibration_as_ofs, holdout_as_ofs,"
            " dataset_object, preprocessor_object, preprocessor_sha256"
            " FROM ma_model_training_metadata"
            " WHERE use_case = @use_case AND model_version = @version",
            {"use_case": use_case.name, "version": version},
        ).to_pylist()[0]
        fitted_on = pq.read_table(bucket / recorded["dataset_object"])
        parts = ("train_as_ofs", "calibration_as_ofs", "holdout_as_ofs")
        part = slice_of(
            fitted_on, [as_of for name in parts for as_of in recorded[name]]
        )
        data = (bucket / recorded["preprocessor_object"]).read_bytes()
        if sha256(data) != recorded["preprocessor_sha256"]:
            raise ArtifactError(
                f"{recorded['preprocessor_object']} is not what training recorded"
            )
        preprocessor = unpickled(data)
        frame = to_frame(part.rows.combine_chunks().to_batches()[0], features)
        model = LogisticRegression(C=0.1, max_iter=1000)
        model.fit(
            preprocessor.transform(frame),
            part.label,
            sample_weight=part.weight,
        )
        after = pc.greater_equal(rows["as_of"], first).to_numpy()
        later = rows.filter(pa.array(after)).combine_chunks().to_batches()[0]
        whole = Pipeline([("preprocessor", preprocessor), ("model", model)])
        probabilities[after] = whole.predict_proba(to_frame(later, features))[:, 1]
    return probabilities


def distance(rows: pa.Table, truth: pa.Table) -> dict[str, float]:
    """
    Return how far probabilities are from the true ones, user by user and by decile.

    Args:
        rows: as_of, user_id, probability, label.
        truth: as_of, user_id, probability.
    """
    from scipy.stats import spearmanr

    renamed = truth.rename_columns(["as_of", "user_id", "truth"])
    both = rows.select(["as_of", "user_id", "probability", "label"]).join(
        renamed, ["as_of", "user_id"], join_type="inner"
    )
    predicted, true = both["probability"].to_numpy(), both["truth"].to_numpy()
    order = np.argsort(predicted, kind="stable")
    gaps = [
        abs(predicted[part].mean() - true[part].mean())
        for part in np.array_split(order, 10)
        if len(part)
    ]
    seen = metrics.outcomes(_as_score(true), both["label"].to_numpy())
    return {
        "rows": float(len(both)),
        "mean_truth": float(true.mean()),
        "mean_probability": float(predicted.mean()),
        "mean_absolute_distance": float(np.abs(predicted - true).mean()),
        "rank_correlation": float(spearmanr(predicted, true).statistic),
        "decile_gap": float(max(gaps)),
        "truth_roc_auc": metrics.roc_auc(seen) or float("nan"),
    }


def _as_score(value: Floats) -> Floats:
    """Return ranks in [0, 1] that order rows as ``value`` does; NaN is lowest."""
    _, rank = np.unique(np.nan_to_num(value, nan=-np.inf), return_inverse=True)
    return np.asarray(rank / max(1, rank.max()), dtype=np.float64)
