"""What the demo's weeks are worth together, and how far from the truth they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from local.exports import sources as loading
from local.generators.export import Shop
from propensity.gcp.warehouse import Warehouse
from propensity.usecases import UseCase, sources

_KEYS = ["as_of", "user_id"]
LOYALTY = sources.Source(
    name="loyalty",
    table="crm.loyalty",
    user_id="customer_id",
    valid_from="changed_at",
    columns={"points": "INT64"},
)
WEEK_COLUMNS = (
    ("week", "week", "{}"),
    ("version", "model_version", "{}"),
    ("users", "users", "{:,}"),
    ("observed", "base_rate", "{:.3f}"),
    ("predicted", "mean_probability", "{:.3f}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("lift", "lift_at_budget", "{:.2f}"),
    ("status", "status", "{}"),
)
SELECTION_COLUMNS = (
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
)


def evaluations(
    warehouse: Warehouse, use_case: UseCase, weeks: Sequence[date]
) -> list[dict[str, Any]]:
    """Return the weeks' rows of ``ma_model_evaluation``, and all their metrics."""
    table = warehouse.table(
        "SELECT * FROM ma_model_evaluation"
        " WHERE use_case = @use_case AND week IN UNNEST(@weeks) ORDER BY week",
        {"use_case": use_case.name, "weeks": list(weeks)},
    )
    return [{**row, **json.loads(row["metrics"])} for row in table.to_pylist()]


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
    ).select(_KEYS)
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
    Return a line on the distance from the true probabilities.

    Args:
        rows: Of ``published``.
        truth: ``as_of``, ``user_id``, ``probability``.
    """
    truth = truth.rename_columns([*_KEYS, "truth"])
    both = rows.join(truth, _KEYS, join_type="inner")
    true, label = both["truth"].to_numpy(), both["label"].to_numpy()
    apart = np.abs(both["probability"].to_numpy() - true).mean()
    return (
        f"By the true probabilities, which the generator knows: ROC AUC "
        f"{roc_auc_score(label, true):.3f}, mean {true.mean():.4f}; "
        f"published ones are {apart:.4f} from them on average"
    )


def loyalty_text(warehouse: Warehouse, rows: pa.Table, shop: Shop) -> str:
    """
    Load the shop's loyalty table, and return a line on what it adds as a source.

    A logistic regression on probability and points is fitted on the first half of the
    weeks, and judged on the second but for its first.
    """
    loading.load(warehouse.client, LOYALTY, shop.loyalty())
    as_ofs = sorted(set(rows["as_of"].to_pylist()))
    before, after = sources.around([LOYALTY])
    known = warehouse.table(
        f"{before}SELECT as_of, user_id, points FROM loyalty{after}",
        {"as_ofs": as_ofs, "known_before": as_ofs[-1]},
    )
    both = rows.join(known, _KEYS, join_type="left outer")
    half = len(as_ofs) // 2
    parts = (as_ofs[:half], as_ofs[half + 1 :]) if half > 1 else (as_ofs, as_ofs)
    fitted, judged = (
        both.filter(pc.is_in(both["as_of"], pa.array(part))) for part in parts
    )
    model = LogisticRegression().fit(_inputs(fitted), fitted["label"].to_numpy())
    label = judged["label"].to_numpy()
    together = roc_auc_score(label, model.predict_proba(_inputs(judged))[:, 1])
    alone = roc_auc_score(label, judged["probability"].to_numpy())
    return (
        f"With the points of a loyalty table as a source: ROC AUC {together:.4f}, "
        f"{alone:.4f} without, on {', '.join(map(str, parts[1]))}"
    )


def _inputs(rows: pa.Table) -> Any:
    return np.column_stack(
        [
            logit(np.clip(rows["probability"].to_numpy(), 1e-6, 1 - 1e-6)),
            np.log1p(pc.fill_null(rows["points"], 0).to_numpy()),
            rows["points"].is_null().to_numpy(),
        ]
    )
