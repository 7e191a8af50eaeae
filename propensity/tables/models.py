"""Model versions, evaluated weeks, drift, and the preprocessors that people upload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from propensity.schema import BILLED, RUN, USE_CASE, Column, Table, structs


def interval(name: str, of: str) -> tuple[Column, Column]:
    """Return the columns of the ends of an interval."""
    return (
        Column(f"{name}_low", "FLOAT64", f"{of}: lower end of its 95% interval"),
        Column(f"{name}_high", "FLOAT64", f"{of}: upper end of its 95% interval"),
    )


_METRICS = (
    Column("users", "INT64", "Rows that were measured: users or events"),
    Column("conversions", "INT64", "Positives: rows with the outcome"),
    Column("base_rate", "FLOAT64", "Share of positives"),
    Column("mean_probability", "FLOAT64", "Mean of the probabilities"),
    Column("threshold", "FLOAT64", "Probability from which a prediction is positive"),
    Column("true_positives", "INT64", "Positives at or above the threshold"),
    Column("true_negatives", "INT64", "Negatives below the threshold"),
    Column("false_positives", "INT64", "Negatives at or above the threshold"),
    Column("false_negatives", "INT64", "Positives below the threshold"),
    Column("precision", "FLOAT64", "Share of predicted positives that are right"),
    Column("recall", "FLOAT64", "Share of positives that are predicted"),
    Column("f1", "FLOAT64", "Harmonic mean of precision and recall"),
    Column("roc_auc", "FLOAT64", "Area under the ROC curve; null with one class"),
    *interval("roc_auc", "Area under the ROC curve"),
    Column("pr_auc", "FLOAT64", "Average precision; null with one class"),
    Column("brier", "FLOAT64", "Mean squared error of the probabilities"),
    Column("log_loss", "FLOAT64", "Mean negative log-likelihood, natural logarithm"),
    Column("calibration_error", "FLOAT64", "Expected calibration error, ten bins"),
    structs(
        "lift",
        "Deciles of the score, highest first; ties are shared out",
        Column("decile", "INT64", "1 has the highest scores"),
        Column("users", "FLOAT64", "10% of the rows"),
        Column("conversions", "FLOAT64", "Positives among them"),
        Column("mean_probability", "FLOAT64", "Mean of their probabilities"),
        Column("lift", "FLOAT64", "Their share of positives over the base rate"),
    ),
    Column("best_threshold", "FLOAT64", "Threshold with the best F1 on earlier rows"),
    Column("budget", "STRING", "How many you can act on: 1000 or 10%"),
    Column("precision_at_budget", "FLOAT64", "Precision of the top k"),
    Column("recall_at_budget", "FLOAT64", "Recall of the top k"),
    Column("lift_at_budget", "FLOAT64", "Precision of the top k over the base rate"),
    Column("alert_threshold", "FLOAT64", "Least anomaly score of an alert"),
    Column("saved", "NUMERIC", "Losses that alerts prevented, minus the reviews"),
)

TRAINING_METADATA = Table(
    name="ma_model_training_metadata",
    description="One row per model version: how it was trained and what it achieved",
    key=("use_case", "model_version"),
    partition="training_date",
    clustering=("use_case", "model_version"),
    # A version is recorded before it may be promoted, and once more after.
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, model_version
    ORDER BY promoted DESC, run_id
  ) = 1""",
    columns=(
        USE_CASE,
        Column("model_version", "INT64", "0, 1, 2, ... per use case", required=True),
        Column("training_date", "DATE", "UTC day of the run", required=True),
        RUN,
        Column("trained_at", "TIMESTAMP", "When the run began"),
        Column("as_of", "DATE", "The run's date: nothing after it was read"),
        Column("algorithm", "STRING", "The candidate that was chosen"),
        Column("is_warm", "BOOL", "Whether the model has seen enough to score"),
        *_METRICS,
        Column("promoted", "BOOL", "Whether it went live; null if cut off"),
        Column("verdict", "STRING", "Why, or why not"),
        Column("compared_version", "INT64", "Live version that it was compared with"),
        Column("model_object", "STRING", "Object name of the model"),
        Column("model_sha256", "STRING", "SHA-256 of its bytes"),
        Column("preprocessor_object", "STRING", "Object name of the preprocessor"),
        Column("preprocessor_sha256", "STRING", "SHA-256 of its bytes"),
        BILLED,
        Column("seconds", "FLOAT64", "Seconds from request to this row"),
        Column("card", "STRING", "The rest of card.json without histograms, JSON"),
    ),
)

EVALUATION = Table(
    name="ma_model_evaluation",
    description="One row per week and model version: how good its predictions were",
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
        USE_CASE,
        Column("week", "DATE", "First day of the outcomes", required=True),
        Column("model_version", "INT64", "Model that scored; -1 without any"),
        Column("week_end", "DATE", "Day after the last of the outcomes"),
        Column("prediction_as_of", "DATE", "Date of the predictions in force"),
        Column("prediction_scored_at", "TIMESTAMP", "When the run behind it began"),
        RUN,
        Column("as_of", "DATE", "Date of the run"),
        Column("status", "STRING", "provisional, or final once labels are mature"),
        Column("outcome", "STRING", "evaluated, no_predictions or one_class"),
        Column("evaluated_at", "TIMESTAMP", "When the run began"),
        *_METRICS,
        structs(
            "thresholds",
            "Positive predictions at other thresholds, highest first",
            Column("threshold", "FLOAT64", "A probability of the week"),
            Column("users", "INT64", "Rows at or above it"),
            Column("conversions", "INT64", "Positives among them"),
        ),
        Column("log_odds_shift", "FLOAT64", "Season's shift in the probabilities"),
        Column("value_promised", "NUMERIC", "Sum of the expected values"),
        Column("value_observed", "NUMERIC", "Sum of what these users paid"),
        Column("unscored_converters", "INT64", "Positives without a probability"),
        BILLED,
        Column("metrics", "STRING", "All other metrics, JSON"),
    ),
)

# What is in the column ``metrics``, and in the answer of 03-ModelEvaluation beside the
# columns; of trainings the same metrics are in ``card``.
IN_METRICS = (
    Column("data_until", "DATE", "Day before which the GA4 export was complete"),
    *interval("pr_auc", "Average precision"),
    Column(
        "calibration_noise",
        "FLOAT64",
        "calibration_error that perfect probabilities of as many users show by chance",
    ),
    Column("users_at_best", "INT64", "Rows at or above the best threshold"),
    Column("true_positives_at_best", "INT64", "Positives among them"),
    Column("precision_at_best", "FLOAT64", "Precision at the best threshold"),
    Column("recall_at_best", "FLOAT64", "Recall at the best threshold"),
    Column("f1_at_best", "FLOAT64", "F1 at the best threshold"),
    Column("users_at_budget", "FLOAT64", "Rows in the top k"),
    Column("true_positives_at_budget", "FLOAT64", "Positives among them"),
    Column("f1_at_budget", "FLOAT64", "F1 of the top k"),
    Column("value_gini", "FLOAT64", "Ranking by money: 1 the best order, 0 by chance"),
    Column("revenue_at_budget", "FLOAT64", "Share paid by the top k by expected value"),
    Column(
        "revenue_at_budget_by_probability",
        "FLOAT64",
        "Share paid by the top k by probability",
    ),
    Column("residual_log_odds", "FLOAT64", "Lacking in the log-odds of the week"),
    Column("residual_standard_error", "FLOAT64", "Of residual_log_odds"),
    Column("review_cost", "NUMERIC", "Cost of an alert's review, as set"),
    Column("alerted", "INT64", "Alerts, by the rule of the version"),
    Column("alerted_conversions", "INT64", "Positives among them"),
    Column("cost", "NUMERIC", "Reviews of alerts, and amounts of positives below"),
    Column("cost_without", "NUMERIC", "Amounts of all positives"),
    *interval("saved", "saved"),
    Column("saved_share", "FLOAT64", "saved over cost_without"),
    Column("unknown_outcomes", "INT64", "Scored, and their label never came"),
    Column("conflicting_outcomes", "INT64", "With both labels; the latest counts"),
)


def evaluation(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation as a row of its table: what has no column is in JSON."""
    names = EVALUATION.types
    own = {name: each for name, each in row.items() if name in names}
    rest = {
        name: each
        for name, each in row.items()
        if name not in names and each is not None
    }
    return {**own, "metrics": json.dumps(rest, default=plain)}


def plain(value: date | Decimal) -> str | float:
    """Return a day or time as an ISO 8601 text, and money as a number: for JSON."""
    return value.isoformat() if isinstance(value, date) else float(value)


DRIFT = Table(
    name="ma_drift",
    description="One row per publication and feature, next to the training of its "
    "model; one of the scores, and one of the users",
    key=("use_case", "as_of", "kind", "name"),
    partition="as_of",
    clustering=("use_case", "kind"),
    newest="""\
  RANK() OVER (
    PARTITION BY use_case, as_of
    ORDER BY written_at DESC, run_id
  ) = 1""",
    columns=(
        USE_CASE,
        Column("as_of", "DATE", "Date of the publication", required=True),
        Column("kind", "STRING", "feature, score or users", required=True),
        Column("name", "STRING", "A feature; or probability, or users", required=True),
        Column("model_version", "INT64", "Model that scored"),
        RUN,
        Column("written_at", "TIMESTAMP", "When that run began"),
        Column("users", "INT64", "Users of the publication"),
        Column("users_before", "INT64", "Users of a snapshot of the training"),
        Column("missing", "FLOAT64", "Share of users without a value"),
        Column("missing_before", "FLOAT64", "That share in the training"),
        Column("psi", "FLOAT64", "Population stability index; null for users"),
        Column("bound", "FLOAT64", "psi from which on it warns: more for few users"),
        structs(
            "bins",
            "Shares by value, the scores' without the season's shift",
            Column("value", "STRING", "A value, or a range of numbers"),
            Column("expected", "FLOAT64", "Share in the training"),
            Column("observed", "FLOAT64", "Share of the publication"),
        ),
        Column("is_alarm", "BOOL", "Whether a person should look at it"),
        Column("cause", "STRING", "feature, missing values, score or users"),
        Column("message", "STRING", "What has changed, in a sentence"),
    ),
)

PREPROCESSORS = Table(
    name="ma_preprocessors",
    description="One row per upload of a preprocessor; training takes the newest",
    key=("use_case", "sha256"),
    partition="uploaded_on",
    clustering=("use_case",),
    columns=(
        USE_CASE,
        Column("uploaded_on", "DATE", "UTC day of the upload", required=True),
        Column("uploaded_at", "TIMESTAMP", "When it was uploaded", required=True),
        Column("object", "STRING", "Object name", required=True),
        Column("sha256", "STRING", "SHA-256 of its bytes", required=True),
        Column("features", "STRING", "The features it was checked on, JSON"),
        Column("is_default", "BOOL", "Whether it puts the default back in its place"),
    ),
)
