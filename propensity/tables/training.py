"""Model versions, and the preprocessors that people upload."""

from __future__ import annotations

from propensity.schema import Column, Table
from propensity.tables.figures import COST, QUALITY, SELECTION, interval

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
        *QUALITY,
        *SELECTION,
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
        *interval("roc_auc_difference", "Difference of ROC AUC"),
        Column("log_loss_difference", "FLOAT64", "Log loss less that champion's"),
        *interval("log_loss_difference", "Difference of log loss"),
        Column(
            "level_difference",
            "FLOAT64",
            "Log-odds that give that champion this version's mean, on the same rows",
        ),
        Column("pr_auc_difference", "FLOAT64", "PR AUC less that champion's"),
        *interval("pr_auc_difference", "Difference of PR AUC"),
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
        Column(
            "estimator_object", "STRING", "Object name of the model for notebooks"
        ),
        Column("estimator_sha256", "STRING", "SHA-256 of its bytes"),
        Column("dataset_object", "STRING", "Object name of the dataset snapshot"),
        Column("dataset_sha256", "STRING", "SHA-256 of its bytes"),
        Column("card_object", "STRING", "Object name of the model card, JSON"),
        Column("report_object", "STRING", "Object name of the report, HTML"),
        Column("libraries", "STRING", "Library versions, JSON"),
        Column("bytes_billed", "INT64", "Bytes that the run's queries billed"),
        Column("seconds", "FLOAT64", "Seconds from request to this row"),
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
