"""
A graph that may stand for a model: exported, and equal to it on held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.graphs import export, parity
from propensity.graphs.builder import Unsupported
from propensity.graphs.parity import Exported
from propensity.models.encoding import Kind

# How far two runtimes may be apart in what a calibration reads.
_LAST_DIGITS = 1e-14


def checked(
    preprocessor: Any,
    model: Any,
    *,
    rows: pa.Table,
    expected: NDArray[np.float64],
    features: Mapping[str, Kind],
) -> Exported:
    """
    Export a model, and compare the graph with it on rows.

    If the graph fails, the training does not: the function then scores the version.
    Another runtime adds up in another order, so no row may lie where its last digit
    decides on which side of a step of an isotonic calibration it falls.

    Args:
        preprocessor, model: As for ``export.exported``.
        expected: The model's probabilities of them, (rows,).
    """
    try:
        data = export.exported(preprocessor, model, features=features)
        comparison = parity.compare(parity.run(data, rows, features=features), expected)
        has_steps = export.has_steps(model)
        for nudge in (_LAST_DIGITS, -_LAST_DIGITS) if has_steps else ():
            nudged = export.exported(
                preprocessor, model, features=features, nudge=nudge
            )
            beside = parity.compare(
                parity.run(nudged, rows, features=features), expected
            )
            if beside.largest_difference > parity.TOLERANCE:
                return Exported(
                    data=None,
                    note="no graph: it differs where a last digit decides on which "
                    "side of a step of the calibration a row falls, by "
                    f"{beside.largest_difference:.2g}",
                )
    except (Unsupported, SchemaError) as error:
        return Exported(data=None, note=f"no graph: {error}")
    text = (
        f"largest difference {comparison.largest_difference:.2g} and "
        f"{comparison.moved_ranks} moved ranks on {comparison.rows} held-out rows"
    )
    if not comparison.holds:
        return Exported(data=None, note=f"no graph: it differs, {text}")
    return Exported(data=data, note=text)
