"""The description of the rows of a training, in plain values; nobody is in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from propensity.models.encoding import Floats, floats_of


def described(rows: pa.Table) -> dict[str, object]:
    """
    Describe a training data set in plain values.

    Returns:
        - ``rows``, ``users``, ``conversions``: counts; ``stand_for``: sum of weights.
        - ``dates``: of each, its labelled ``rows`` and ``conversions``, and the
          weighted ``share`` of label 1; None without labels.
    """
    labels = floats_of(rows["label"])
    weight = floats_of(rows["weight"])
    return {
        "rows": len(rows),
        "users": pc.count_distinct(rows["user_id"]).as_py(),
        "conversions": int(np.nansum(labels)),
        "stand_for": round(float(weight.sum())),
        "dates": _dates(rows, labels, weight),
    }


def _dates(rows: pa.Table, labels: Floats, weight: Floats) -> list[dict[str, object]]:
    """Return the labelled rows of each date, (rows,), and their share of label 1."""
    is_known = ~np.isnan(labels)
    frame = pd.DataFrame(
        {
            "as_of": rows["as_of"].to_pandas(),
            "rows": is_known,
            "conversions": labels == 1,
            "weight": weight * is_known,
            "weight_of_conversions": weight * (labels == 1),
        }
    )
    days = []
    for as_of, sums in frame.groupby("as_of").sum().iterrows():
        share = None
        if sums["weight"]:
            share = float(sums["weight_of_conversions"] / sums["weight"])
        day = {
            "as_of": as_of,
            "rows": int(sums["rows"]),
            "conversions": int(sums["conversions"]),
            "share": share,
        }
        days.append(day)
    return days
