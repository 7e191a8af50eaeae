"""
95% intervals in closed form, which hold for few rows, too.

Resampling draws only what was seen: of three calls that were all right it never draws a
wrong one, and of one conversion it knows one rank. So calls always have these, and the
other figures of a ranking where a label has few rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from propensity.learning.metrics import NORMAL, rate_interval

if TYPE_CHECKING:
    from propensity.learning.bootstrap import Expansion

Limits = tuple[float, float]

# Rows of a label: of fewer, resampled intervals hold the truth in too few weeks.
FEW = 20


def calls(
    counts: Mapping[str, float | None], expansion: Expansion
) -> dict[str, Limits | None]:
    """
    Return the intervals of ``precision``, ``recall`` and ``f1`` of calls.

    Each is that of a rate. F1 grows with the share of hits among calls and misses.

    Args:
        counts: ``true_positives``, ``false_positives`` and ``false_negatives``.
        expansion: Number of users per row.

    Returns:
        Both ends in [0, 1], around the figure; None where it divides by zero.
    """
    hits, false_alarms, misses = (
        counts[name] or 0.0
        for name in ("true_positives", "false_positives", "false_negatives")
    )
    common = _share(hits, hits + misses, false_alarms, expansion)
    return {
        "precision": _share(hits, hits, false_alarms, expansion),
        "recall": _share(hits, hits + misses, 0.0, expansion),
        "f1": common and (_f1(common[0]), _f1(common[1])),
    }


def budget(
    hits: float, rows: float, positives: float, total: float, expansion: Expansion
) -> dict[str, Limits | None]:
    """
    Return the intervals of ``precision``, ``recall``, ``f1`` and ``lift`` of best rows.

    All grow with the hits, whose interval is that of their share of the most there can
    be: all of the rows, or all positives.

    Args:
        hits: Of label 1 among the best rows.
        positives, total: Rows of label 1, and of both labels.
        expansion: Number of users per row.
    """
    most = min(rows, positives)
    share = (
        _share(hits, hits, rows - hits, expansion)
        if rows <= positives
        else _share(hits, positives, 0.0, expansion)
    )
    scales = {
        "precision": rows,
        "recall": positives,
        "f1": (rows + positives) / 2,
        "lift": rows * positives / total if total > 0 else 0.0,
    }
    return {
        name: (share[0] * most / scale, share[1] * most / scale)
        if share and scale > 0
        else None
        for name, scale in scales.items()
    }


def roc_auc(area: float, positives: float, negatives: float) -> Limits:
    """
    Return the interval of an area under the ROC curve, in [0, 1] and around it.

    It has the areas that are no further from the measured one than 1.96 of their own
    standard errors, which also are known where the measured one is 0 or 1.

    Args:
        area: As measured.
        positives, negatives: Numbers of rows, above 0; may be fractions.

    Source:
        Newcombe, "Confidence intervals for an effect size measure based on the
        Mann-Whitney statistic. Part 2", Statistics in Medicine 25, 2006: method 5.
    """
    half = (positives + negatives) / 2

    def is_within(candidate: float) -> bool:
        tails = (1 - candidate) / (2 - candidate) + candidate / (1 + candidate)
        variance = candidate * (1 - candidate) * (1 + (half - 1) * tails)
        square = NORMAL**2 * variance / (positives * negatives)
        return (area - candidate) ** 2 <= square

    def end(outer: float) -> float:
        inner = area
        for _ in range(40):
            middle = (inner + outer) / 2
            inner, outer = (middle, outer) if is_within(middle) else (inner, middle)
        return inner

    return end(0.0), end(1.0)


def pr_auc(precision: float, positives: float) -> Limits:
    """
    Return the interval of an average precision, in [0, 1] and around it.

    Args:
        precision: The mean of the precisions at each row of label 1.
        positives: Number of these, above 0; may be a fraction.

    Source:
        Boyd, Eng and Page, "Area under the Precision-Recall Curve: Point Estimates and
        Confidence Intervals", ECML PKDD 2013: as that of a rate of so many rows.
    """
    return rate_interval(precision * positives, positives)


def _share(
    hits: float, positives: float, negatives: float, expansion: Expansion
) -> Limits | None:
    """Return the interval of hits among rows of both labels; None without any."""
    users = positives + negatives
    if users <= 0:
        return None
    # Kish: rows of one weight that tell as much.
    per_row = (positives * expansion.positive + negatives * expansion.negative) / users
    rows = users / per_row
    return rate_interval(float(np.clip(hits / users, 0.0, 1.0)) * rows, rows)


def _f1(share: float) -> float:
    """Return the F1 of a share of hits among calls and misses."""
    return 2 * share / (1 + share)
