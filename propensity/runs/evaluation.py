"""What the evaluations of weeks and of days have in common."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from propensity.measures import metrics
from propensity.models.encoding import floats_of
from propensity.runs import export
from propensity.runs.run import Run
from propensity.tables.models import Evaluation


class Evaluated(NamedTuple):
    """
    An evaluation without metrics, and what is to be measured, if anything.

    Attributes:
        groups: Scores and outcomes, as of ``outcomes_of``.
        only_ranks: Whether the scores are no probabilities.
    """

    row: Evaluation
    groups: pa.Table | None = None
    only_ranks: bool = False


def evaluation(run: Run, week: date, version: int = -1) -> Evaluation:
    """Return the row of a week, or of a day, without any metrics."""
    return Evaluation(
        use_case=run.use_case.name,
        week=week,
        model_version=version,
        week_end=week + run.timeframe.horizon,
        run_id=run.run_id,
        as_of=run.as_of,
        status=export.status(run, week),
        outcome="no_predictions",
        evaluated_at=run.began_at,
        bytes_billed=0,
        data_until=run.data_until,
    )


def outcomes_of(groups: pa.Table) -> tuple[metrics.Outcomes, int]:
    """
    Return the outcomes by probability, and how many converted without one.

    Args:
        groups: ``probability``, ``users`` and ``conversions``; null for no probability.
    """
    counted = groups.select(["probability", "users", "conversions"])
    probability, users, conversions = map(floats_of, counted.columns)
    has_score = ~np.isnan(probability)
    observed = metrics.grouped(
        probability[has_score], users[has_score], conversions[has_score]
    )
    return observed, int(conversions[~has_score].sum())
