"""Probabilities: the newest of each user, all of them by run, and publications."""

from __future__ import annotations

from propensity.schema import BILLED, USE_CASE, Column, Table

_PREDICTION = (
    USE_CASE,
    Column("user_id", "STRING", "The user, as the export names them", required=True),
    Column("as_of", "DATE", "Prediction date: events before it", required=True),
    Column("probability", "FLOAT64", "That the outcome comes, 0 to 1", required=True),
)

# Amounts are exact everywhere: sums of estimates add up, too.
_VALUE = Column("expected_value", "NUMERIC", "Probability times expected amount")
_DATA_UNTIL = Column("data_until", "DATE", "Day before which the export was complete")
_SHIFT = Column("log_odds_shift", "FLOAT64", "Season's shift; null without")

PREDICTIONS = Table(
    name="ma_predictions_table",
    description="One row per user: the newest probability",
    key=("use_case", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
    columns=(
        *_PREDICTION,
        Column("percentile", "INT64", "Rank within its date, 1 to 100 highest"),
        Column("model_version", "INT64", "Model that scored", required=True),
        Column("scored_at", "TIMESTAMP", "When the run began"),
        _DATA_UNTIL,
        _SHIFT,
        _VALUE,
    ),
)

# The name of a view: the rows of SCORES of the runs that PUBLICATIONS has, in the
# columns of PREDICTIONS.
PREDICTIONS_HISTORY = "ma_predictions_history"

SCORES = Table(
    name="ma_predictions_runs",
    description="One row per run of 01-Predictions and user: what it has scored",
    key=("use_case", "as_of", "run_id", "user_id"),
    partition="as_of",
    clustering=("use_case", "run_id", "user_id"),
    requires_filter=True,
    columns=(
        *_PREDICTION,
        Column("run_id", "STRING", "The run that scored", required=True),
        _VALUE,
    ),
)

PUBLICATIONS = Table(
    name="ma_publications",
    description="One row per publication: its users, their probabilities, its cost",
    key=("use_case", "as_of"),
    partition="as_of",
    clustering=("use_case",),
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, as_of
    ORDER BY published_at DESC, run_id
  ) = 1""",
    columns=(
        USE_CASE,
        Column("as_of", "DATE", "Prediction date: events before it", required=True),
        Column("model_version", "INT64", "Model that scored", required=True),
        Column("run_id", "STRING", "The run that published"),
        Column("scored_at", "TIMESTAMP", "When that run began"),
        Column("published_at", "TIMESTAMP", "When it published; the newest counts"),
        _DATA_UNTIL,
        Column("users", "INT64", "Users with a probability"),
        Column("mean_probability", "FLOAT64", "Mean of their probabilities"),
        Column(
            "quantiles", "FLOAT64", "Least, 99 percentiles, greatest", repeated=True
        ),
        _SHIFT,
        Column("value_promised", "NUMERIC", "Sum of expected values; null without"),
        BILLED,
        Column("seconds", "FLOAT64", "Seconds from request to this row"),
    ),
)
