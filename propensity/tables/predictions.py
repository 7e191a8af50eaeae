"""Probabilities: the newest, all, those not published yet; and publications."""

from __future__ import annotations

from propensity.schema import Column, Table
from propensity.tables.figures import STAGED

_PREDICTION = (
    Column("use_case", "STRING", "Use case", required=True),
    Column("user_id", "STRING", "The user, as the export names them", required=True),
    Column("as_of", "DATE", "Prediction date: events before it", required=True),
    Column("probability", "FLOAT64", "Calibrated, in [0, 1]", required=True),
    Column("percentile", "INT64", "Rank within its as-of date, 1 to 100 highest"),
    Column("model_version", "INT64", "Model that scored", required=True),
    Column("scored_at", "TIMESTAMP", "When the run began"),
    Column("data_until", "DATE", "Day before which the GA4 export was all there"),
    Column(
        "log_odds_shift", "FLOAT64", "The season's, in the probability; null without"
    ),
)

# Amounts are exact sums everywhere else; an estimate is as exact, so that they add up.
_VALUE = (
    Column(
        "expected_value",
        "NUMERIC",
        "Probability times the amount expected of a buyer; null without amounts",
    ),
)

PREDICTIONS = Table(
    name="ma_predictions_table",
    description="One row per user: the newest probability",
    key=("use_case", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
    columns=(*_PREDICTION, *_VALUE),
)

PREDICTIONS_HISTORY = Table(
    name="ma_predictions_history",
    description="One row per user and as-of date: every probability published",
    key=("use_case", "as_of", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
    requires_filter=True,
    columns=(*_PREDICTION, *_VALUE),
)

# Rows that a run has not published yet. Those of a run that died expire.
PREDICTIONS_STAGING = Table(
    name="ma_predictions_staging",
    description="Scores of runs that have not published yet",
    key=("run_id", "user_id"),
    partition="staged_on",
    clustering=("run_id",),
    expiration_days=3,
    columns=(
        *STAGED,
        Column("user_id", "STRING", "The user", required=True),
        Column("probability", "FLOAT64", "Calibrated, in [0, 1]", required=True),
        *_VALUE,
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
        Column("scored_at", "TIMESTAMP", "When that run began, as in the history"),
        Column("data_until", "DATE", "Day before which the GA4 export was all there"),
        Column("users", "INT64", "Users with a probability"),
        Column("mean_probability", "FLOAT64", "Mean of their probabilities"),
        Column("log_odds_shift", "FLOAT64", "The season's, in them; null without"),
        Column(
            "value_promised",
            "NUMERIC",
            "Sum of the users' expected values; null without amounts",
        ),
        Column("bytes_billed", "INT64", "Bytes that the run's queries billed"),
        Column("seconds", "FLOAT64", "Seconds from request to this row"),
    ),
)
