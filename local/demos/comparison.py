"""What the demo's weeks are worth together, and how far from the truth they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import average_precision_score, roc_auc_score

from propensity.gcp.warehouse import Warehouse
from propensity.usecases import UseCase

_KEYS = ["as_of", "user_id"]


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


def published(
    warehouse: Warehouse, use_case: UseCase, weeks: Sequence[date]
) -> pa.Table:
    """
    Join the weeks' published probabilities with their outcomes.

    Returns:
        ``as_of``, ``user_id``, ``probability``, ``label``.
    """
    probabilities = warehouse.table(
        "SELECT as_of, user_id, probability FROM ma_predictions_history"
        " WHERE use_case = @use_case AND as_of IN UNNEST(@weeks)",
        {"use_case": use_case.name, "weeks": list(weeks)},
    )
    positives = warehouse.table(
        use_case.statement("labels"), use_case.window(warehouse.settings, weeks)
    ).select(["as_of", "user_id"])
    ones = pa.array(np.ones(len(positives), np.int64))
    rows = probabilities.join(positives.append_column("label", ones), _KEYS)
    label = pc.fill_null(rows["label"], 0)
    return rows.set_column(rows.column_names.index("label"), "label", label)


def pooled_text(rows: pa.Table) -> str:
    """Return a line on all weeks together."""
    label, probability = rows["label"].to_numpy(), rows["probability"].to_numpy()
    if not 0 < label.sum() < len(label):
        return f"All weeks together: {len(rows):,} rows of one outcome"
    return (
        f"All weeks together: ROC AUC {roc_auc_score(label, probability):.3f}, PR AUC "
        f"{average_precision_score(label, probability):.3f}; "
        f"{probability.mean():.4f} predicted and {label.mean():.4f} observed over "
        f"{len(rows):,} users and weeks"
    )


def truth_text(rows: pa.Table, truth: pa.Table) -> str:
    """
    Return a line on the distance from the probabilities that the generator knows.

    Args:
        rows: Of ``published``.
        truth: ``as_of``, ``user_id``, ``probability``.
    """
    both = rows.join(
        truth.rename_columns(["as_of", "user_id", "truth"]),
        _KEYS,
        join_type="inner",
    )
    true, label = both["truth"].to_numpy(), both["label"].to_numpy()
    apart = np.abs(both["probability"].to_numpy() - true).mean()
    return (
        f"By the true probabilities, which the generator knows: ROC AUC "
        f"{roc_auc_score(label, true):.3f}, mean {true.mean():.4f}; "
        f"published ones are {apart:.4f} from them on average"
    )


SELECTION_COLUMNS: Sequence[tuple[str, str, str]] = (
    ("week", "week", "{}"),
    ("threshold", "best_threshold", "{:.3f}"),
    ("users", "users_at_best", "{:,}"),
    ("precision", "precision_at_best", "{:.3f}"),
    ("recall", "recall_at_best", "{:.3f}"),
    ("F1", "f1_at_best", "{:.3f}"),
    ("budget", "budget", "{}"),
    ("users", "users_at_budget", "{:,.0f}"),
    ("precision", "precision_at_budget", "{:.3f}"),
    ("recall", "recall_at_budget", "{:.3f}"),
    ("lift", "lift_at_budget", "{:.2f}"),
)
WEEK_COLUMNS: Sequence[tuple[str, str, str]] = (
    ("week", "week", "{}"),
    ("version", "model_version", "{}"),
    ("users", "users", "{:,}"),
    ("observed", "base_rate", "{:.3f}"),
    ("predicted", "mean_probability", "{:.3f}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("lift", "lift_at_budget", "{:.2f}"),
    ("status", "status", "{}"),
)
