"""
Every table that the functions share: columns, key, partitioning, clustering.

The only place where a column is typed. ``schema`` says what a column and a table are.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from propensity.schema import Column, Table


def _interval(name: str, of: str) -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", "FLOAT64", f"{of}: lower end of its 95% interval"),
        Column(f"{name}_high", "FLOAT64", f"{of}: upper end of its 95% interval"),
    )


_QUALITY = (
    Column("users", "INT64", "Rows that the figures are of"),
    Column("conversions", "INT64", "Rows with label 1"),
    Column("base_rate", "FLOAT64", "Share of label 1"),
    Column("mean_probability", "FLOAT64", "Mean of the probabilities"),
    Column("threshold", "FLOAT64", "Probability from which a row counts as positive"),
    Column("true_positives", "INT64", "Label 1, at or above the threshold"),
    Column("true_negatives", "INT64", "Label 0, below the threshold"),
    Column("false_positives", "INT64", "Label 0, at or above the threshold"),
    Column("false_negatives", "INT64", "Label 1, below the threshold"),
    Column("precision", "FLOAT64", "At the threshold; null without a positive call"),
    *_interval("precision", "Precision"),
    Column("recall", "FLOAT64", "At the threshold; null without a label 1"),
    *_interval("recall", "Recall"),
    Column("f1", "FLOAT64", "Harmonic mean of precision and recall"),
    *_interval("f1", "F1"),
    Column("roc_auc", "FLOAT64", "Area under the ROC curve; null with one class"),
    *_interval("roc_auc", "Area under the ROC curve"),
    Column("pr_auc", "FLOAT64", "Average precision; null with one class"),
    *_interval("pr_auc", "Average precision"),
    Column("brier", "FLOAT64", "Mean squared error of the probabilities"),
    *_interval("brier", "Brier score"),
    Column("log_loss", "FLOAT64", "Mean negative log-likelihood, natural logarithm"),
    *_interval("log_loss", "Log loss"),
    Column("calibration_error", "FLOAT64", "Expected calibration error, ten bins"),
    *_interval("calibration_error", "Expected calibration error"),
    Column(
        "lift",
        "STRUCT",
        "Deciles of the score, highest first",
        repeated=True,
        fields=(
            Column("decile", "INT64", "1 is the highest scores"),
            Column("users", "FLOAT64", "A tenth of the rows; ties are shared out"),
            Column("conversions", "FLOAT64", "Label 1 in it; ties are shared out"),
            Column("mean_probability", "FLOAT64", "Mean of its probabilities"),
            Column("lift", "FLOAT64", "Its rate of label 1 over the base rate"),
        ),
    ),
)

# Figures at the threshold that was best on earlier rows, and of the best of a budget.
_SELECTION = (
    Column("best_threshold", "FLOAT64", "Probability with the best F1 on earlier rows"),
    Column("best_threshold_source", "STRING", "Those rows: training or evaluations"),
    Column("users_at_best", "INT64", "Rows at or above the best threshold"),
    Column("true_positives_at_best", "INT64", "Label 1 among them"),
    Column("precision_at_best", "FLOAT64", "Precision at the best threshold"),
    *_interval("precision_at_best", "Precision at the best threshold"),
    Column("recall_at_best", "FLOAT64", "Recall at the best threshold"),
    *_interval("recall_at_best", "Recall at the best threshold"),
    Column("f1_at_best", "FLOAT64", "F1 at the best threshold"),
    *_interval("f1_at_best", "F1 at the best threshold"),
    Column("budget", "STRING", "The best so many, or the best share, as in 10%"),
    Column("users_at_budget", "FLOAT64", "Rows that it has room for, best first"),
    Column("true_positives_at_budget", "FLOAT64", "Label 1 in it; ties shared out"),
    Column("precision_at_budget", "FLOAT64", "Precision of the budget"),
    *_interval("precision_at_budget", "Precision of the budget"),
    Column("recall_at_budget", "FLOAT64", "Recall of the budget"),
    *_interval("recall_at_budget", "Recall of the budget"),
    Column("f1_at_budget", "FLOAT64", "F1 of the budget"),
    *_interval("f1_at_budget", "F1 of the budget"),
    Column("lift_at_budget", "FLOAT64", "Precision of the budget over the base rate"),
    *_interval("lift_at_budget", "Lift of the budget"),
)

# What alerts of events cost; null for models of users.
COST = (
    Column("review_cost", "NUMERIC", "Cost of an alert's review, as set"),
    Column(
        "alert_threshold",
        "FLOAT64",
        "Score from which an event is an alert: the cheapest on the rows chosen on; "
        "above 1 for no alerts, where none paid",
    ),
    Column("alerted", "INT64", "Rows at or above it"),
    Column("alerted_conversions", "INT64", "Label 1 among these"),
    Column("cost", "NUMERIC", "Reviews of these, and amounts of label 1 below it"),
    Column("cost_without", "NUMERIC", "Without an alert: amounts of all label 1"),
    Column(
        "saved",
        "NUMERIC",
        "cost_without less cost; negative where looking cost more than it brought",
    ),
    Column("saved_low", "NUMERIC", "saved: lower end of its 95% interval"),
    Column("saved_high", "NUMERIC", "saved: upper end of its 95% interval"),
    Column("saved_share", "FLOAT64", "saved over cost_without; null without losses"),
)

TRAINING_METADATA = Table(
    name="ma_model_training_metadata",
    description="One row per model version: how it was trained and what it achieved",
    key=("use_case", "model_version"),
    partition="training_date",
    clustering=("use_case", "model_version"),
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("model_version", "INT64", "0, 1, 2, ... per use case", required=True),
        Column("training_date", "DATE", "UTC day of the run", required=True),
        Column("trained_at", "TIMESTAMP", "When the run began"),
        Column("as_of", "DATE", "The run's as-of date: nothing after it was read"),
        Column("data_until", "DATE", "Day before which the GA4 export was all there"),
        Column("lookback_days", "INT64", "Days of events behind a feature"),
        Column("horizon_days", "INT64", "Days of outcome in a label"),
        Column("settle_days", "INT64", "Days waited for late rows of the export"),
        Column("train_as_ofs", "DATE", "As-of dates fitted on alone", repeated=True),
        Column("calibration_as_ofs", "DATE", "As-of dates chosen on", repeated=True),
        Column("holdout_as_ofs", "DATE", "As-of dates of the figures", repeated=True),
        Column("trained_until", "DATE", "Newest as-of date that it has learned from"),
        Column("train_rows", "INT64", "Rows fitted on alone"),
        Column("calibration_rows", "INT64", "Rows chosen and calibrated on"),
        Column("train_base_rate", "FLOAT64", "Share of label 1 in training"),
        Column("negative_sampling_rate", "FLOAT64", "Share of label 0 rows read"),
        Column("positive_sampling_rate", "FLOAT64", "Share of label 1 rows read"),
        Column("algorithm", "STRING", "The candidate that was chosen"),
        Column("parameters", "STRING", "Its parameters, JSON"),
        Column("calibration", "STRING", "none, sigmoid, isotonic or temperature"),
        Column("is_warm", "BOOL", "Whether the model has seen enough to score"),
        Column("alerts", "STRING", "Recall and cost at fixed alert rates, JSON"),
        Column("candidates", "STRING", "Every candidate's figures, JSON"),
        Column("choice", "STRING", "Why this candidate, and how it is weighted, JSON"),
        Column("fits", "INT64", "Fits of the training"),
        *_QUALITY,
        *_SELECTION,
        *COST,
        Column("baseline_saved", "NUMERIC", "saved, by alerts of the baseline"),
        Column("importance", "STRING", "Permutation importance by feature, JSON"),
        Column(
            "top_decile", "STRING", "What the top tenth has in common, by feature, JSON"
        ),
        Column("promoted", "BOOL", "Whether it became the champion"),
        Column("verdict", "STRING", "Why, or why not"),
        Column("compared_version", "INT64", "The champion that it was compared with"),
        Column("roc_auc_difference", "FLOAT64", "ROC AUC less that champion's"),
        *_interval("roc_auc_difference", "Difference of ROC AUC"),
        Column("log_loss_difference", "FLOAT64", "Log loss less that champion's"),
        *_interval("log_loss_difference", "Difference of log loss"),
        Column(
            "level_difference",
            "FLOAT64",
            "Log-odds that give that champion this version's mean, on the same rows",
        ),
        Column("pr_auc_difference", "FLOAT64", "PR AUC less that champion's"),
        *_interval("pr_auc_difference", "Difference of PR AUC"),
        Column("cost_difference", "NUMERIC", "cost less that champion's"),
        Column("cost_difference_low", "NUMERIC", "Lower end of its 95% interval"),
        Column("cost_difference_high", "NUMERIC", "Upper end of its 95% interval"),
        Column("features", "STRING", "Feature names and types, JSON"),
        Column("statement_parameters", "STRING", "The use case's own, as set, JSON"),
        Column("model_object", "STRING", "Object name of the model"),
        Column("model_sha256", "STRING", "SHA-256 of its bytes"),
        Column("preprocessor_object", "STRING", "Object name of the preprocessor"),
        Column("preprocessor_sha256", "STRING", "SHA-256 of its bytes"),
        Column(
            "measured_object", "STRING", "Object name of the model behind the figures"
        ),
        Column("measured_sha256", "STRING", "SHA-256 of its bytes"),
        Column("onnx_object", "STRING", "Object name of the graph for BigQuery"),
        Column("onnx_sha256", "STRING", "SHA-256 of its bytes"),
        Column("onnx_note", "STRING", "How equal the graph is, or why there is none"),
        Column("dataset_object", "STRING", "Object name of the dataset snapshot"),
        Column("dataset_sha256", "STRING", "SHA-256 of its bytes"),
        Column("card_object", "STRING", "Object name of the model card, JSON"),
        Column("report_object", "STRING", "Object name of the report, HTML"),
        Column("libraries", "STRING", "Library versions, JSON"),
        Column("bytes_billed", "INT64", "Bytes that the run's queries billed"),
        Column("seconds", "FLOAT64", "Seconds from request to this row"),
    ),
)

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

# Why a probability is what it is; too much to keep of every week.
_REASONS = (
    Column(
        "base_log_odds", "FLOAT64", "Log-odds without any feature; null without reasons"
    ),
    Column(
        "reasons",
        "STRUCT",
        "By feature; with base_log_odds their sum is the probability's log-odds",
        repeated=True,
        fields=(
            Column("feature", "STRING", "The feature, as usecase.toml names it"),
            Column("contribution", "FLOAT64", "What it adds to the log-odds"),
        ),
    ),
)

_FEATURE_ROW = Column("feature_row", "INT64", "In the features kept; null without any")

PREDICTIONS = Table(
    name="ma_predictions_table",
    description="One row per user: the newest probability",
    key=("use_case", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
    columns=(*_PREDICTION, *_REASONS),
)

PREDICTIONS_HISTORY = Table(
    name="ma_predictions_history",
    description="One row per user and as-of date: every probability published",
    key=("use_case", "as_of", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
    requires_filter=True,
    columns=(*_PREDICTION, _FEATURE_ROW),
)

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
        Column("status", "STRING", "provisional, or final once labels are mature"),
        Column("outcome", "STRING", "evaluated, no_predictions or one_class"),
        Column("evaluated_at", "TIMESTAMP", "When the run wrote this row"),
        Column("data_until", "DATE", "Day before which the GA4 export was all there"),
        *_QUALITY,
        *_SELECTION,
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
        Column("unscored_converters", "INT64", "Label 1 without a probability"),
        Column("unknown_outcomes", "INT64", "Scored, and never learned what came of"),
        Column("conflicting_outcomes", "INT64", "Told to be both; the latest counts"),
        Column("is_shadow", "BOOL", "Whether the model was scored to compare only"),
        Column("bytes_billed", "INT64", "Bytes that the run's queries billed"),
    ),
)

PREPROCESSORS = Table(
    name="ma_preprocessors",
    description="One row per upload of a preprocessor; training takes the newest",
    key=("use_case", "sha256"),
    partition="uploaded_on",
    clustering=("use_case",),
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("uploaded_on", "DATE", "UTC day of the upload", required=True),
        Column("uploaded_at", "TIMESTAMP", "When it was uploaded", required=True),
        Column("object", "STRING", "Object name", required=True),
        Column("sha256", "STRING", "SHA-256 of its bytes", required=True),
        Column("features", "STRING", "The features it was checked on, JSON"),
        Column("is_default", "BOOL", "Whether it puts the default back in its place"),
    ),
)

_STAGED = (
    Column("run_id", "STRING", "The run that staged the row", required=True),
    Column("staged_on", "DATE", "UTC day of the run", required=True),
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
        *_STAGED,
        Column("user_id", "STRING", "The user", required=True),
        Column("probability", "FLOAT64", "Calibrated, in [0, 1]", required=True),
        _FEATURE_ROW,
        *_REASONS,
    ),
)

EVALUATION_STAGING = Table(
    name="ma_model_evaluation_staging",
    description="Evaluations of runs that have not published yet",
    key=("run_id", "week"),
    partition="staged_on",
    clustering=("run_id",),
    expiration_days=3,
    columns=(*_STAGED, *EVALUATION.columns),
)

_VISIT = (
    Column("source", "STRING", "Where the user first came from"),
    Column("medium", "STRING", "How the user first came"),
    Column("device_category", "STRING", "desktop, mobile or tablet"),
    Column("operating_system", "STRING", "Such as Android"),
    Column("country", "STRING", "By the user's address"),
)

# Longer than a lookback of sixty days by four weeks, so that reruns find their days.
EXPORT_USER_DAYS = Table(
    name="export_user_days",
    description="One row per use case, day of the GA4 export, user and UTC day: its "
    "sums; and one without a user for each day of the export: what it is the sums of",
    key=("use_case", "shard", "user_id", "day"),
    partition="shard",
    clustering=("use_case", "user_id"),
    expiration_days=90,
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("shard", "DATE", "Local day of the export's table", required=True),
        Column("user_id", "STRING", "The user; null in the row about the table"),
        Column("day", "DATE", "UTC day of the events"),
        Column("last_event", "INT64", "Newest event_timestamp"),
        Column("first_event", "INT64", "Oldest event_timestamp"),
        Column("first_touch", "INT64", "Oldest user_first_touch_timestamp"),
        Column("n_events", "INT64", "Events, each once"),
        Column("session_number", "INT64", "Highest number of a session"),
        Column("engagement_ms", "INT64", "Milliseconds on screen"),
        Column("n_page_views", "INT64", "Events: page_view"),
        Column("n_view_items", "INT64", "Events: view_item"),
        Column("n_add_to_carts", "INT64", "Events: add_to_cart"),
        Column("n_begin_checkouts", "INT64", "Events: begin_checkout"),
        Column("sessions", "STRING", "Its sessions, each once", repeated=True),
        Column("visit", "STRUCT", "What the newest event says", fields=_VISIT),
        Column(
            "charges",
            "STRUCT",
            "Purchases and refunds; equal ones, as of a page loaded again, are one",
            repeated=True,
            fields=(
                Column("event_name", "STRING", "purchase or refund"),
                Column("transaction_id", "STRING", "The shop's, or the event's time"),
                Column("same_charge", "NUMERIC", "Amount in the event's currency"),
                Column("n_items", "INT64", "Sum of the items' quantities"),
                Column("n_distinct_items", "INT64", "Different item ids"),
                Column("amount", "NUMERIC", "Of the first of them, in US dollars"),
                Column("first_event", "INT64", "event_timestamp of the first of them"),
            ),
        ),
        Column("source", "STRING", "The export's table: name, last change and rows"),
        Column("definition", "STRING", "Use case, and SHA-256 of what makes the sums"),
        Column("summed_at", "TIMESTAMP", "When the table was summed up"),
    ),
)

STREAM_EVENTS = Table(
    name="stream_events",
    description="Accepted events, enriched; one sent twice may be here twice",
    key=("use_case", "user_id", "event_date", "event_id"),
    partition="received_on",
    clustering=("use_case", "user_id"),
    requires_filter=True,
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("event_id", "STRING", "The producer's, or the message's", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("event_type", "STRING", "Such as new_bet", required=True),
        Column("event_time", "TIMESTAMP", "When it happened", required=True),
        Column("event_date", "DATE", "UTC day of event_time", required=True),
        Column("amount", "NUMERIC", "Money of a purchase, bet or win"),
        Column("age", "INT64", "Whole years at the event"),
        Column("city", "STRING", "As registered"),
        Column("country", "STRING", "As registered"),
        Column("postcode", "STRING", "As registered"),
        Column("affiliate_url", "STRING", "As registered"),
        Column("campaign", "STRING", "As registered"),
        Column("socioeconomic_idx", "FLOAT64", "Of the postcode; null if unknown"),
        Column("label", "INT64", "What came of the user; read for training only"),
        Column("name", "STRING", "Only where personal fields are kept"),
        Column("street_address", "STRING", "Only where personal fields are kept"),
        Column("date_of_birth", "DATE", "Only where personal fields are kept"),
        Column("attributes", "STRING", "Further fields that a use case declares, JSON"),
        Column("is_late", "BOOL", "Received more days after event_date than allowed"),
        Column("message_id", "STRING", "Pub/Sub's id of the delivered message"),
        Column("published_at", "TIMESTAMP", "When it was published"),
        Column("received_at", "TIMESTAMP", "When the function took it", required=True),
        Column("received_on", "DATE", "UTC day of received_at", required=True),
    ),
)

MEASURES = ("purchase", "bet", "win")

_SUMS = tuple(
    column
    for measure in MEASURES
    for column in (
        Column(f"{measure}_count", "INT64", f"Events: {measure}"),
        Column(f"{measure}_sum", "NUMERIC", f"Exact sum of {measure} amounts"),
        Column(
            f"{measure}_sum_squares",
            "NUMERIC",
            f"Exact sum of squared {measure} amounts",
        ),
    )
)

_REGISTRATION = (
    Column("registration_time", "TIMESTAMP", "Of the user's first registration"),
    Column("age", "INT64", "Whole years at registration"),
    Column("city", "STRING", "As registered"),
    Column("country", "STRING", "As registered"),
    Column("affiliate_url", "STRING", "As registered"),
    Column("campaign", "STRING", "As registered"),
    Column("socioeconomic_idx", "FLOAT64", "Of the postcode; null if unknown"),
)

STREAM_FEATURES_DAILY = Table(
    name="stream_features_daily",
    description="One row per user and day of events: sums from which features are made",
    key=("use_case", "day", "user_id"),
    partition="month",
    clustering=("use_case", "user_id", "day"),
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("day", "DATE", "UTC day of the events", required=True),
        Column("month", "DATE", "First day of the day's month", required=True),
        *_SUMS,
        Column(
            "registration",
            "STRUCT",
            "The first registration of the day; null without one",
            fields=_REGISTRATION,
        ),
        Column("event_ids", "STRING", "Events counted in this row", repeated=True),
        Column("compacted_at", "TIMESTAMP", "When the row was last written"),
    ),
)

# Each is a partition, and one job may change 4,000. With fifty million users a bucket
# has fifty thousand: less than the minimum that BigQuery bills.
USER_BUCKETS = 1_000


def user_bucket(user_id: str) -> int:
    """Return the partition of ``stream_users`` that a user is in, as its SQL does."""
    digest = hashlib.sha256(user_id.encode()).digest()
    return int.from_bytes(digest[:4], "big") % USER_BUCKETS


STREAM_USERS = Table(
    name="stream_users",
    description="One row per user: the sums of all of the user's days",
    key=("use_case", "user_id"),
    partition="user_bucket",
    buckets=USER_BUCKETS,
    clustering=("use_case", "user_id"),
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("user_bucket", "INT64", "Hash of user_id, 0 to 999", required=True),
        *_SUMS,
        Column(
            "registration",
            "STRUCT",
            "The user's first registration; null without one",
            fields=_REGISTRATION,
        ),
        Column("compacted_at", "TIMESTAMP", "When the row was last written"),
    ),
)

POSTCODE_INDEX = Table(
    name="postcode_index",
    description="One row per postcode, and per outward code for unknown ones in it",
    key=("postcode",),
    partition="loaded_on",
    clustering=("postcode",),
    columns=(
        Column("postcode", "STRING", "Capitals, without spaces", required=True),
        Column("socioeconomic_idx", "FLOAT64", "The index", required=True),
        Column("is_outward", "BOOL", "Whether it is the median of an outward code"),
        Column("loaded_on", "DATE", "UTC day of the load", required=True),
    ),
)

INFERENCE_LOG = Table(
    name="inference_log",
    description="One row per score given; a redelivery repeats its inference_id",
    key=("inference_id",),
    partition="scored_on",
    clustering=("use_case", "user_id"),
    requires_filter=True,
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("inference_id", "STRING", "Of use case, event and model", required=True),
        Column("event_id", "STRING", "The event that was scored", required=True),
        Column("user_id", "STRING", "The user", required=True),
        Column("event_time", "TIMESTAMP", "Of the event", required=True),
        Column("event_date", "DATE", "UTC day of event_time", required=True),
        Column("model_version", "INT64", "Model that scored; -1 none", required=True),
        Column("probability", "FLOAT64", "Calibrated, in [0, 1]"),
        Column("anomaly_score", "FLOAT64", "0 to 1, of models that know no outcomes"),
        Column("is_warm", "BOOL", "Whether the model has seen enough to score"),
        Column("is_shadow", "BOOL", "Scored to compare, and not to answer"),
        Column("epoch", "INT64", "Of the champion pointer that was in force"),
        Column("source", "STRING", "stream, online or loaded"),
        Column("features", "STRING", "What the model was given, JSON"),
        Column("scored_at", "TIMESTAMP", "When it was scored", required=True),
        Column("scored_on", "DATE", "UTC day of scored_at", required=True),
        Column(
            "latency_ms",
            "FLOAT64",
            "From ingest_ts or publication to the score; null where that is senseless",
        ),
    ),
)

TRUTH_EVENTS = Table(
    name="truth_events",
    description="What was learned later about an event; the latest truth_time counts",
    key=("use_case", "event_id", "truth_time"),
    partition="received_on",
    clustering=("use_case", "event_id"),
    requires_filter=True,
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("event_id", "STRING", "The event that it is about", required=True),
        Column("label", "INT64", "What came of it, 0 or 1", required=True),
        Column("truth_time", "TIMESTAMP", "When that was found out", required=True),
        Column("message_id", "STRING", "Pub/Sub's id of the delivered message"),
        Column("published_at", "TIMESTAMP", "When it was published"),
        Column("received_at", "TIMESTAMP", "When the function took it", required=True),
        Column("received_on", "DATE", "UTC day of received_at", required=True),
    ),
)

DEAD_LETTERS = Table(
    name="dead_letters",
    description="Messages that can never become events, as they came",
    key=("message_id",),
    partition="received_on",
    clustering=("reason",),
    requires_filter=True,
    columns=(
        Column("message_id", "STRING", "Pub/Sub's", required=True),
        Column("reason", "STRING", "Such as malformed_json", required=True),
        Column("field", "STRING", "The field at fault, where there is one"),
        Column("detail", "STRING", "What was wanted and what was found"),
        Column(
            "raw", "BYTES", "The payload but for personal fields; its start if huge"
        ),
        Column("raw_size", "INT64", "Bytes of the whole payload"),
        Column("attributes", "STRING", "The message's attributes, JSON"),
        Column("published_at", "TIMESTAMP", "When it was published"),
        Column("received_at", "TIMESTAMP", "When the function took it", required=True),
        Column("received_on", "DATE", "UTC day of received_at", required=True),
    ),
)

SUPPRESSED_USERS = Table(
    name="suppressed_users",
    description="Users of whom nothing may be kept, by a keyed hash of their ids",
    key=("use_case", "user_hash"),
    partition="suppressed_on",
    clustering=("use_case", "user_hash"),
    columns=(
        Column("use_case", "STRING", "Where it counts; empty: all", required=True),
        Column("user_hash", "STRING", "HMAC-SHA256 of the id, in hex", required=True),
        Column("key_id", "STRING", "Tells the hash's key from others", required=True),
        Column("suppressed_at", "TIMESTAMP", "When it was added", required=True),
        Column("suppressed_on", "DATE", "UTC day of suppressed_at", required=True),
    ),
)

# Columns of the view ga_events, which ga_events.sql makes of the export; a test holds
# that. No table: nothing here creates it.
GA_EVENTS = (
    Column("table_suffix", "STRING", "Local day of the table, YYYYMMDD; prunes"),
    Column("event_timestamp", "INT64", "Microseconds since 1970, UTC"),
    Column("event_time", "TIMESTAMP", "The same as a moment"),
    Column("event_name", "STRING", "Such as page_view or purchase"),
    Column("user_pseudo_id", "STRING", "Browser or device; null without consent"),
    Column("user_id", "STRING", "The site's own id; null before a login"),
    Column("user_first_touch_timestamp", "INT64", "First visit, as event_timestamp"),
    Column("ga_session_id", "INT64", "Session of the browser or device"),
    Column("ga_session_number", "INT64", "1 for a browser's first session, and so on"),
    Column("engagement_ms", "INT64", "Milliseconds on screen"),
    Column("event_value", "NUMERIC", "Parameter value, in the event's currency"),
    Column("event_value_in_usd", "NUMERIC", "The same in US dollars"),
    Column("currency", "STRING", "Parameter currency, in capitals, such as EUR"),
    Column("purchase_revenue", "NUMERIC", "Of a purchase, in the event's currency"),
    Column("purchase_revenue_in_usd", "NUMERIC", "The same in US dollars"),
    Column("refund_value", "NUMERIC", "Of a refund, in the event's currency"),
    Column("refund_value_in_usd", "NUMERIC", "The same in US dollars"),
    Column("transaction_id", "STRING", "Of a purchase or refund, as the shop sends it"),
    Column("n_items", "INT64", "Sum of the items' quantities; null without items"),
    Column("n_distinct_items", "INT64", "Different item ids among the items"),
    Column("source", "STRING", "Where the user first came from; null if streamed"),
    Column("medium", "STRING", "How the user first came; null if streamed"),
    Column("device_category", "STRING", "desktop, mobile or tablet"),
    Column("operating_system", "STRING", "Such as Android"),
    Column("country", "STRING", "By the user's address"),
    Column(
        "params_digest", "STRING", "MD5 of all parameters: tells equal events apart"
    ),
)

TABLES = (
    TRAINING_METADATA,
    PREDICTIONS,
    PREDICTIONS_HISTORY,
    PREDICTIONS_STAGING,
    EVALUATION,
    EVALUATION_STAGING,
    PREPROCESSORS,
    EXPORT_USER_DAYS,
    STREAM_EVENTS,
    STREAM_FEATURES_DAILY,
    STREAM_USERS,
    POSTCODE_INDEX,
    INFERENCE_LOG,
    TRUTH_EVENTS,
    DEAD_LETTERS,
    SUPPRESSED_USERS,
)


MAXIMUM_RETENTION_DAYS = 36_500


def retention(text: str) -> dict[str, int]:
    """
    Return the days that partitions are kept, by table; 0 is for ever.

    Args:
        text: ``table=days`` for each of some tables, between spaces or commas.

    Raises:
        ValueError: It is not, or names a table that never expires: without its entry
            in the list of suppressed users a user would come back, and buckets of users
            follow the tiles.
    """
    allowed = {table.name for table in TABLES if not table.buckets}
    allowed.remove(SUPPRESSED_USERS.name)
    days_by_table: dict[str, int] = {}
    for part in text.replace(",", " ").split():
        name, _, days = part.partition("=")
        if name not in allowed:
            raise ValueError(
                f"names {name!r}; it must be like stream_events=400 dead_letters=90, "
                f"with tables of {', '.join(sorted(allowed))}"
            )
        if name in days_by_table:
            raise ValueError(f"must name {name} once")
        is_whole = days.isascii() and days.isdigit()
        if not is_whole or int(days) > MAXIMUM_RETENTION_DAYS:
            raise ValueError(
                f"must give {name} a whole number of days up to "
                f"{MAXIMUM_RETENTION_DAYS}, such as {name}=400; 0 is for ever"
            )
        days_by_table[name] = int(days)
    return days_by_table


def retained(text: str) -> tuple[Table, ...]:
    """Return all tables, with the days of ``retention`` where it names one."""
    days = retention(text)
    return tuple(
        replace(table, expiration_days=days.get(table.name, table.expiration_days))
        for table in TABLES
    )


# Columns that connect a row with a user: the user's id; where there is none, the id of
# an event of the user; or bytes that may hold anything.
USER, EVENT, RAW = "user_id", "event_id", "raw"


def holding_users() -> dict[Table, str]:
    """Return the tables with rows about users, and the column with the user in each."""
    column_of = {}
    for table in TABLES:
        names = {column.name for column in table.columns}
        column = next((name for name in (USER, EVENT, RAW) if name in names), None)
        if column is not None:
            column_of[table] = column
    return column_of
