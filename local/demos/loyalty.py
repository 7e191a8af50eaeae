"""What a table of the shop's own adds: its loyalty programme, as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from local.exports import sources as loading
from local.generators.shop import Shop
from propensity.gcp.warehouse import Warehouse
from propensity.usecases import UseCase, declaration

_KEYS = ["as_of", "user_id"]
LOYALTY = declaration.Source(
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
    outcomes are known.

    Args:
        scores: Rows of ``published_users.sql``.
    """
    weeks = sorted({row["as_of"] for row in scores})
    loading.load(warehouse.client, LOYALTY, shop.loyalty())
    window = use_case.window(warehouse.settings, weeks)
    buyers = warehouse.table(use_case.statement("labels"), window).select(_KEYS)
    before, after = declaration.around({"loyalty": LOYALTY.text()})
    points = warehouse.table(
        f"{before}SELECT as_of, user_id, points FROM loyalty{after}",
        {"as_ofs": weeks, "known_before": max(weeks)},
    )
    rows = pd.DataFrame(scores).merge(points.to_pandas(), "left", _KEYS)
    rows = rows.merge(buyers.to_pandas().assign(label=1), "left", _KEYS)
    label = rows["label"].fillna(0)
    inputs = np.column_stack(
        [
            logit(rows["probability"].clip(1e-6, 1 - 1e-6)),
            np.log1p(rows["points"].fillna(0)),
            rows["points"].isna(),
        ]
    )
    half = len(weeks) // 2
    fitted, judged = (
        rows["as_of"].isin(part) for part in (weeks[:half], weeks[half + 1 :])
    )
    if min(label[fitted].nunique(), label[judged].nunique()) < 2:
        return "Too few weeks to show what a loyalty table adds as a source."
    model = LogisticRegression().fit(inputs[fitted], label[fitted])
    together = roc_auc_score(label[judged], model.predict_proba(inputs[judged])[:, 1])
    alone = roc_auc_score(label[judged], rows["probability"][judged])
    return (
        f"With loyalty points as an extra source, ROC AUC is {together:.4f} instead of "
        f"{alone:.4f} (weeks {', '.join(map(str, weeks[half + 1 :]))})"
    )
