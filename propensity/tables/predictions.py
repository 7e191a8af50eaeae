"""Probabilities: the newest of each user, all of them by run, and publications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from propensity.schema import BytesBilled, Row, Table, UseCaseName


class Prediction(Row):
    """One row per user: the newest probability."""

    use_case: UseCaseName
    user_id: Annotated[str, "The user, as the export names them"]
    as_of: Annotated[date, "Prediction date: events before it"]
    probability: Annotated[float, "That the outcome comes, 0 to 1"]
    percentile: Annotated[int | None, "Rank within its date, 1 to 100 highest"]
    model_version: Annotated[int, "Model that scored"]
    scored_at: Annotated[datetime | None, "When the run began"]
    data_until: Annotated[date | None, "Day before which the export was complete"]
    log_odds_shift: Annotated[float | None, "Season's shift; null without"]
    expected_value: Annotated[Decimal | None, "Probability times expected amount"]


PREDICTIONS = Table(
    name="ma_predictions_table",
    row=Prediction,
    key=("use_case", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
)


# The name of a view: the rows of SCORES of the runs that PUBLICATIONS has, in the
# columns of PREDICTIONS.
PREDICTIONS_HISTORY = "ma_predictions_history"


class Score(Row):
    """One row per run of 01-Predictions and user: what it has scored."""

    use_case: UseCaseName
    user_id: Annotated[str, "The user, as the export names them"]
    as_of: Annotated[date, "Prediction date: events before it"]
    probability: Annotated[float, "That the outcome comes, 0 to 1"]
    run_id: Annotated[str, "The run that scored"]
    expected_value: Annotated[Decimal | None, "Probability times expected amount"]


SCORES = Table(
    name="ma_predictions_runs",
    row=Score,
    key=("use_case", "as_of", "run_id", "user_id"),
    partition="as_of",
    clustering=("use_case", "run_id", "user_id"),
    requires_filter=True,
)


class Publication(Row):
    """One row per publication: its users, their probabilities, its cost."""

    use_case: UseCaseName
    as_of: Annotated[date, "Prediction date: events before it"]
    model_version: Annotated[int, "Model that scored"]
    run_id: Annotated[str | None, "The run that published"]
    scored_at: Annotated[datetime | None, "When that run began"]
    published_at: Annotated[datetime | None, "When it published; the newest counts"]
    data_until: Annotated[date | None, "Day before which the export was complete"]
    users: Annotated[int | None, "Users with a probability"]
    mean_probability: Annotated[float | None, "Mean of their probabilities"]
    quantiles: Annotated[Sequence[float], "Least, 99 percentiles, greatest"]
    log_odds_shift: Annotated[float | None, "Season's shift; null without"]
    value_promised: Annotated[Decimal | None, "Sum of expected values; null without"]
    bytes_billed: BytesBilled
    seconds: Annotated[float | None, "Seconds from request to this row"]


PUBLICATIONS = Table(
    name="ma_publications",
    row=Publication,
    key=("use_case", "as_of"),
    partition="as_of",
    clustering=("use_case",),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, as_of
    ORDER BY published_at DESC, run_id
  ) = 1""",
)
