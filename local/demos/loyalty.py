"""
What a table of one's own adds: the generated shop's loyalty programme, as a source.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import logit

from local.exports import sources as loading
from local.generators.shop.export import Shop
from propensity.gcp.warehouse import Warehouse
from propensity.usecases import sources

LOYALTY = sources.Source(
    name="loyalty",
    table="crm.loyalty",
    user_id="customer_id",
    valid_from="changed_at",
    columns={"points": "INT64"},
)


def worth(warehouse: Warehouse, rows: pa.Table, shop: Shop) -> str:
    """
    Load the table, and return a line on what it adds to the published probabilities.

    Args:
        rows: ``as_of``, ``user_id``, ``probability``, ``label``. A logistic regression
            on probability and points is fitted on the first half of the weeks, and
            judged on the second but for its first.
        shop: That has the programme.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    loading.load(warehouse.client, LOYALTY, shop.loyalty())
    as_ofs = sorted(set(rows["as_of"].to_pylist()))
    before, after = sources.around([LOYALTY])
    known = warehouse.table(
        f"{before}SELECT as_of, user_id, points FROM loyalty{after}",
        {"as_ofs": as_ofs, "known_before": as_ofs[-1]},
    )
    both = rows.join(known, ["as_of", "user_id"], join_type="left outer")
    half = len(as_ofs) // 2
    parts = (as_ofs[:half], as_ofs[half + 1 :]) if half > 1 else (as_ofs, as_ofs)
    fitted, judged = (
        both.filter(pc.is_in(both["as_of"], pa.array(part))) for part in parts
    )
    x, judged_x = (
        np.column_stack(
            [
                logit(np.clip(part["probability"].to_numpy(), 1e-6, 1 - 1e-6)),
                np.log1p(pc.fill_null(part["points"], 0).to_numpy()),
                part["points"].is_null().to_numpy(),
            ]
        )
        for part in (fitted, judged)
    )
    model = LogisticRegression().fit(x, fitted["label"].to_numpy())
    label = judged["label"].to_numpy()
    together = roc_auc_score(label, model.predict_proba(judged_x)[:, 1])
    alone = roc_auc_score(label, judged["probability"].to_numpy())
    return (
        f"With the points of a loyalty table as a source: ROC AUC {together:.4f}, "
        f"{alone:.4f} without, on {', '.join(map(str, parts[1]))}"
    )
