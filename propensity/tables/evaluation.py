"""Evaluated weeks: what the probabilities were worth."""

from __future__ import annotations

from propensity.schema import Column, Table
from propensity.tables.figures import COST, QUALITY, RUN, SELECTION, VALUE

# The season of an evaluated week, which 01-Predictions follows.
_SEASON = (
    Column("log_odds_shift", "FLOAT64", "The season's, in the probabilities"),
    Column(
        "residual_log_odds",
        "FLOAT64",
        "To add to their log-odds for their mean to be the base rate",
    ),
    Column("residual_standard_error", "FLOAT64", "Of residual_log_odds"),
)

EVALUATION = Table(
    name="ma_model_evaluation",
    description="One row per week and model version: what the probabilities were worth",
    key=("use_case", "week", "model_version"),
    partition="week",
    clustering=("use_case", "model_version"),
    # Of the publication in force, final before provisional. A day of events has a row
    # for each version that scored; version -1 counts while there is no other.
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY
      use_case, week, IF(prediction_as_of IS NULL, model_version, NULL)
    ORDER BY
      prediction_as_of DESC,
      prediction_scored_at DESC,
      status = 'final' DESC,
      evaluated_at DESC,
      run_id
  ) = 1
  AND (
    model_version >= 0
    OR MAX(model_version) OVER (PARTITION BY use_case, week) < 0
  )""",
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
        *RUN,
        Column("as_of", "DATE", "As-of date of the run"),
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
