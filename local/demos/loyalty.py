"""What a table of the shop's own adds: its loyalty programme, as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

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


def text(
    warehouse: Warehouse,
    use_case: UseCase,
    shop: Shop,
    scores: Sequence[Mapping[str, Any]],
) -> str:
    """
    Load the shop's loyalty table, and return a line on what it adds.

    A logistic regression on published probability and points is fitted on the first
    half of the weeks, and judged on the second but for its first; too few weeks or
    outcomes are said.

    Args:
        scores: Rows of ``published_users.sql``.
    """
    weeks = sorted({row["as_of"] for row in scores})
    loading.load(warehouse.client, LOYALTY, shop.loyalty())
    rows = pa.Table.from_pylist([*scores])
    buyers = warehouse.table(
        use_case.statement("labels"), use_case.window(warehouse.settings, weeks)
    ).select(_KEYS)
    before, after = sources.around([LOYALTY])
    known = warehouse.table(
        f"{before}SELECT as_of, user_id, points FROM loyalty{after}",
        {"as_ofs": weeks, "known_before": max(weeks)},
    )
    ones = pa.array(np.ones(len(buyers), np.int64))
    rows = rows.join(buyers.append_column("label", ones), _KEYS).join(known, _KEYS)
    half = len(weeks) // 2
    parts = weeks[:half], weeks[half + 1 :]
    fitted, judged = (
        rows.filter(pc.is_in(rows["as_of"], pa.array(part, pa.date32())))
        for part in parts
    )
    if min(len(set(_label(part).tolist())) for part in (fitted, judged)) < 2:
        return "Too few weeks to show what a loyalty table adds as a source."
    model = LogisticRegression().fit(_inputs(fitted), _label(fitted))
    together = roc_auc_score(_label(judged), model.predict_proba(_inputs(judged))[:, 1])
    alone = roc_auc_score(_label(judged), judged["probability"].to_numpy())
    return (
        f"With the points of a loyalty table as a source: ROC AUC {together:.4f}, "
        f"{alone:.4f} without, on {', '.join(map(str, parts[1]))}"
    )


def _label(rows: pa.Table) -> Any:
    return pc.fill_null(rows["label"], 0).to_numpy()


def _inputs(rows: pa.Table) -> Any:
    return np.column_stack(
        [
            logit(np.clip(rows["probability"].to_numpy(), 1e-6, 1 - 1e-6)),
            np.log1p(pc.fill_null(rows["points"], 0).to_numpy()),
            rows["points"].is_null().to_numpy(),
        ]
    )
