"""Evaluated weeks: what the probabilities were worth."""

from __future__ import annotations

from propensity.schema import Column, Table
from propensity.tables.figures import COST, QUALITY, SELECTION, STAGED, VALUE

# The season of an evaluated week, which 01-Predictions follows.
_SEASON = (
    Column("log_odds_shift", "FLOAT64", "The season's, in the probabilities"),
    Column(
        "residual_log_odds",
        "FLOAT64",
        "To add to their log-odds for their mean to be the base rate",
    ),
    Column("residual_standard_error", "FLOAT64", "Of residual_log_odds"),
    Column(
        "provisional_log_odds",
        "FLOAT64",
        "log_odds_shift and residual_log_odds as known on week_end",
    ),
    Column("provisional_standard_error", "FLOAT64", "Of provisional_log_odds"),
    Column("provisional_conversions", "INT64", "Conversions as known on week_end"),
)

EVALUATION = Table(
    name="ma_model_evaluation",
    description="One row per week and model version: what the probabilities were worth",
    key=("use_case", "week", "model_version"),
    partition="week",
    clustering=("use_case", "model_version"),
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("week", "DATE", "First day of the outcomes", required=True),
        Column("model_version", "INT64", "Model that scored; -1 without any"),
        Column("week_end", "DATE", "Day after the last of the outcomes"),
        Column("prediction_as_of", "DATE", "As-of date of the probabilities in force"),
        Column(
            "prediction_scored_at",
            "TIMESTAMP",
            "When the run that published them began: of another one's they are no more",
        ),
        Column("status", "STRING", "provisional, or final once labels are mature"),
        Column("outcome", "STRING", "evaluated, no_predictions or one_class"),
        Column("evaluated_at", "TIMESTAMP", "When the run wrote this row"),
        Column("data_until", "DATE", "Day before which the GA4 export was all there"),
        *QUALITY,
        *SELECTION,
        Column(
            "thresholds",
            "STRUCT",
            "Thresholds, highest first, to choose another one or that of later weeks",
            repeated=True,
            fields=(
                Column("threshold", "FLOAT64", "A probability of the week"),
                Column("users", "INT64", "Rows at or above it"),
                Column("conversions", "INT64", "Label 1 among them"),
            ),
        ),
        *_SEASON,
        *COST,
        *VALUE,
        Column("unscored_converters", "INT64", "Label 1 without a probability"),
        Column("unknown_outcomes", "INT64", "Scored, and never learned what came of"),
        Column("conflicting_outcomes", "INT64", "Told to be both; the latest counts"),
        Column("bytes_billed", "INT64", "Bytes that the run's queries billed"),
    ),
)

EVALUATION_STAGING = Table(
    name="ma_model_evaluation_staging",
    description="Evaluations of runs that have not published yet",
    key=("run_id", "week"),
    partition="staged_on",
    clustering=("run_id",),
    expiration_days=3,
    columns=(*STAGED, *EVALUATION.columns),
)
