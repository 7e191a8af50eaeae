"""Columns that several tables have: figures, a selection, costs, the run."""

from __future__ import annotations

from propensity.schema import Column


def interval(name: str, of: str) -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", "FLOAT64", f"{of}: lower end of its 95% interval"),
        Column(f"{name}_high", "FLOAT64", f"{of}: upper end of its 95% interval"),
    )


QUALITY = (
    Column("users", "INT64", "Rows that the figures are of"),
    Column("conversions", "INT64", "Rows with label 1"),
    Column("base_rate", "FLOAT64", "Share of label 1"),
    Column("mean_probability", "FLOAT64", "Mean of the probabilities"),
    Column("threshold", "FLOAT64", "Probability from which a row counts as positive"),
    Column("true_positives", "INT64", "Label 1, at or above the threshold"),
    Column("true_negatives", "INT64", "Label 0, below the threshold"),
    Column("false_positives", "INT64", "Label 0, at or above the threshold"),
    Column("false_negatives", "INT64", "Label 1, below the threshold"),
    Column("precision", "FLOAT64", "At the threshold; null without a positive"),
    Column("recall", "FLOAT64", "At the threshold; null without a label 1"),
    Column("f1", "FLOAT64", "Harmonic mean of precision and recall"),
    Column("roc_auc", "FLOAT64", "Area under the ROC curve; null with one class"),
    *interval("roc_auc", "Area under the ROC curve"),
    Column("pr_auc", "FLOAT64", "Average precision; null with one class"),
    *interval("pr_auc", "Average precision"),
    Column("brier", "FLOAT64", "Mean squared error of the probabilities"),
    Column("log_loss", "FLOAT64", "Mean negative log-likelihood, natural logarithm"),
    Column("calibration_error", "FLOAT64", "Expected calibration error, ten bins"),
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
SELECTION = (
    Column("best_threshold", "FLOAT64", "Probability with the best F1 on earlier rows"),
    Column("users_at_best", "INT64", "Rows at or above the best threshold"),
    Column("true_positives_at_best", "INT64", "Label 1 among them"),
    Column("precision_at_best", "FLOAT64", "Precision at the best threshold"),
    Column("recall_at_best", "FLOAT64", "Recall at the best threshold"),
    Column("f1_at_best", "FLOAT64", "F1 at the best threshold"),
    Column("budget", "STRING", "The best so many, or the best share, as in 10%"),
    Column("users_at_budget", "FLOAT64", "Rows that it has room for, best first"),
    Column("true_positives_at_budget", "FLOAT64", "Label 1 in it; ties shared out"),
    Column("precision_at_budget", "FLOAT64", "Precision of the budget"),
    Column("recall_at_budget", "FLOAT64", "Recall of the budget"),
    Column("f1_at_budget", "FLOAT64", "F1 of the budget"),
    Column("lift_at_budget", "FLOAT64", "Precision of the budget over the base rate"),
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

# Expected values against the amounts that came; null without amounts.
VALUE = (
    Column("value_promised", "NUMERIC", "Sum of the expected values"),
    Column("value_observed", "NUMERIC", "Sum of what these users paid"),
)

# Tables of figures keep the rows of all runs; their views have the newest.
RUN = (Column("run_id", "STRING", "The run that wrote the row"),)
