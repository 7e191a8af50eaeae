"""Probabilities: the newest, all of them by run, and publications."""

from __future__ import annotations

from propensity.schema import Column, Table

_PREDICTION = (
    Column("use_case", "STRING", "Use case", required=True),
    Column("user_id", "STRING", "The user, as the export names them", required=True),
    Column("as_of", "DATE", "Prediction date: events before it", required=True),
    Column("probability", "FLOAT64", "Calibrated, in [0, 1]", required=True),
)

# Amounts are exact sums everywhere else; an estimate is as exact, so that they add up.
_VALUE = Column(
    "expected_value",
    "NUMERIC",
    "Probability times the amount expected of a buyer; null without amounts",
)

PREDICTIONS = Table(
    name="ma_predictions_table",
    description="One row per user: the newest probability",
    key=("use_case", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
    columns=(
        *_PREDICTION,
        Column("percentile", "INT64", "Rank within its as-of date, 1 to 100 highest"),
        Column("model_version", "INT64", "Model that scored", required=True),
        Column("scored_at", "TIMESTAMP", "When the run began"),
        Column("data_until", "DATE", "Day before which the GA4 export was all there"),
        Column("log_odds_shift", "FLOAT64", "The season's, in it; null without"),
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
    description="One row per publication: who was scored, what was promised, its cost",
    key=("use_case", "as_of"),
    partition="as_of",
    clustering=("use_case",),
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("as_of", "DATE", "Prediction date: events before it", required=True),
        Column("model_version", "INT64", "Model that scored", required=True),
        Column("run_id", "STRING", "The run that published; the last one of its date"),
        Column("scored_at", "TIMESTAMP", "When that run began"),
        Column("data_until", "DATE", "Day before which the GA4 export was all there"),
        Column("users", "INT64", "Users with a probability"),
        Column("mean_probability", "FLOAT64", "Mean of their probabilities"),
        Column(
            "quantiles",
            "FLOAT64",
            "The least probability, their 99 percentiles and the greatest",
            repeated=True,
        ),
        Column("log_odds_shift", "FLOAT64", "The season's, in them; null without"),
        Column(
            "value_promised",
            "NUMERIC",
            "Sum of the users' expected values; null without amounts",
        ),
        Column("bytes_billed", "INT64", "Bytes that the run had billed until then"),
        Column("seconds", "FLOAT64", "Seconds from request to this row"),
    ),
)
