"""
Model versions, their predictions and evaluated weeks, drift, uploaded preprocessors.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from propensity.schema import (
    DETAIL,
    NULLABLE,
    BytesBilled,
    Count,
    Money,
    Number,
    Part,
    Row,
    RunId,
    Table,
    UseCaseName,
)

_LOW = "lower end of its 95% interval"
_HIGH = "upper end of its 95% interval"
_MATRIX = "Confusion matrix at the threshold"


class LiftDecile(Row):
    """A tenth of the scored rows."""

    decile: Annotated[int, "1 has the highest scores"]
    users: Annotated[float, "10% of the rows"]
    conversions: Annotated[float, "Positives among them"]
    mean_probability: Annotated[Number, "Mean of their probabilities"]
    lift: Annotated[Number, "Their share of positives over the base rate"]


class Metrics(Part):
    """
    Metrics of scored rows; None where one does not exist.

    Anomaly scores have none that reads a score as a probability. ``_at_budget`` is of
    the rows of the budget, whose counts may be fractions: ties at its border are shared
    out.
    """

    users: Annotated[int, "Measured users or events", NULLABLE] = 0
    conversions: Annotated[int, "Positives among them", NULLABLE] = 0
    base_rate: Annotated[Number, "Share of positives"] = None
    mean_probability: Annotated[Number, "Mean of the probabilities"] = None
    threshold: Annotated[Number, "Least probability of a positive prediction"] = None
    true_positives: Annotated[Count, _MATRIX] = None
    true_negatives: Annotated[Count, _MATRIX] = None
    false_positives: Annotated[Count, _MATRIX] = None
    false_negatives: Annotated[Count, _MATRIX] = None
    precision: Annotated[Number, "Right share of predicted positives"] = None
    recall: Annotated[Number, "Predicted share of positives"] = None
    f1: Annotated[Number, "Harmonic mean of precision and recall"] = None
    roc_auc: Annotated[Number, "ROC AUC; null with one class"] = None
    roc_auc_low: Annotated[Number, f"Area under the ROC curve: {_LOW}"] = None
    roc_auc_high: Annotated[Number, f"Area under the ROC curve: {_HIGH}"] = None
    pr_auc: Annotated[Number, "Average precision; null with one class"] = None
    pr_auc_low: Annotated[Number, f"Average precision: {_LOW}", DETAIL] = None
    pr_auc_high: Annotated[Number, f"Average precision: {_HIGH}", DETAIL] = None
    brier: Annotated[Number, "Mean squared error of the probabilities"] = None
    log_loss: Annotated[Number, "Mean negative log-likelihood"] = None
    calibration_error: Annotated[Number, "Expected calibration error, ten bins"] = None
    lift: Annotated[Sequence[LiftDecile], "Deciles of the score, highest first"] = ()
    budget: Annotated[str | None, "For example 1000 or 10%"] = None
    users_at_budget: Annotated[Number, "Rows in the top k", DETAIL] = None
    true_positives_at_budget: Annotated[Number, "Positives among them", DETAIL] = None
    precision_at_budget: Annotated[Number, "Precision of the top k"] = None
    recall_at_budget: Annotated[Number, "Recall of the top k"] = None
    f1_at_budget: Annotated[Number, "F1 of the top k", DETAIL] = None
    lift_at_budget: Annotated[Number, "Precision of the top k over base_rate"] = None


class Savings(Part):
    """What the alerts of a fraud model cost and save."""

    review_cost: Annotated[Decimal, "Cost of an alert's review, as set", DETAIL]
    alert_threshold: Annotated[Number, "Least anomaly score of an alert"]
    alerted: Annotated[int, "Alerts, by the rule of the version", DETAIL]
    alerted_conversions: Annotated[int, "Positives among them", DETAIL]
    cost: Annotated[Decimal, "Reviews, and amounts of positives without one", DETAIL]
    cost_without: Annotated[Decimal, "Amounts of all positives", DETAIL]
    saved: Annotated[Decimal, "Losses prevented, minus the reviews", NULLABLE]
    saved_low: Annotated[Money, f"saved: {_LOW}", DETAIL]
    saved_high: Annotated[Money, f"saved: {_HIGH}", DETAIL]
    saved_share: Annotated[Number, "saved over cost_without", DETAIL]


class TrainedVersion(Row):
    """One row per model version: how it was trained and what it achieved."""

    use_case: UseCaseName
    model_version: Annotated[int, "From 0 on, per use case"]
    training_date: Annotated[date, "UTC day of the run"]
    run_id: RunId
    trained_at: Annotated[datetime, "When the run began", NULLABLE]
    as_of: Annotated[date, "Prediction date", NULLABLE]
    algorithm: Annotated[str, "Chosen candidate", NULLABLE]
    is_warm: Annotated[bool, "Whether it can score yet", NULLABLE]
    metrics: Metrics
    alert_threshold: Annotated[Number, "Least anomaly score of an alert"]
    saved: Annotated[Money, "Losses prevented, minus the reviews"]
    promoted: Annotated[bool | None, "Whether it went live; null if cut off"]
    verdict: Annotated[str, "Why, or why not", NULLABLE]
    compared_version: Annotated[Count, "Live version at that time"]
    model_object: Annotated[str, "Object names, and SHA-256 of their bytes", NULLABLE]
    model_sha256: Annotated[str, "Object names, and SHA-256 of their bytes", NULLABLE]
    preprocessor_object: Annotated[
        str, "Object names, and SHA-256 of their bytes", NULLABLE
    ]
    preprocessor_sha256: Annotated[
        str, "Object names, and SHA-256 of their bytes", NULLABLE
    ]
    bytes_billed: BytesBilled
    seconds: Annotated[float, "Seconds until this row", NULLABLE]
    card: Annotated[str, "Everything else, JSON", NULLABLE]


TRAINING_METADATA = Table(
    name="ma_model_training_metadata",
    row=TrainedVersion,
    key=("use_case", "model_version"),
    partition="training_date",
    clustering=("use_case", "model_version"),
    # A version is recorded before it may be promoted, and once more after.
    newest="""\
  ROW_NUMBER() OVER (
    PARTITION BY use_case, model_version
    ORDER BY promoted DESC, run_id
  ) = 1""",
)


class InForce(Part):
    """The publication whose probabilities were in force in a week."""

    prediction_as_of: Annotated[date, "Prediction date in force", NULLABLE]
    prediction_scored_at: Annotated[datetime, "When their run began", NULLABLE]
    log_odds_shift: Annotated[Number, "Season's shift of the probabilities"] = None


class Range(Part):
    """What is expected of a week, by how much the weeks of this shop differ."""

    conversions_low: Annotated[Count, "Fewest positives in 19 weeks of 20"]
    conversions_high: Annotated[Count, "Most positives in 19 weeks of 20"]
    value_low: Annotated[Money, "Least revenue in 19 weeks of 20"]
    value_high: Annotated[Money, "Most revenue in 19 weeks of 20"]
    spread: Annotated[Number, "Scale of log-odds, Student's"]
    value_spread: Annotated[Number, "Scale of log revenue, Student's"]
    freedom: Annotated[Count, "Degrees of freedom of both"]


class Residual(Part):
    """By how much the log-odds of a week were too low."""

    residual_log_odds: Annotated[
        float, "To add to all log-odds to match the outcomes", DETAIL
    ]
    residual_standard_error: Annotated[float, "Of residual_log_odds", DETAIL]


class ValueDecile(Row):
    """A tenth of the users, by expected value."""

    decile: Annotated[int, "1 has the highest"]
    users: Annotated[float, "10% of the users; ties are shared out"]
    expected: Annotated[float, "Sum of their expected values"]
    paid: Annotated[float, "Sum of what they paid"]
    paid_low: Annotated[Number, f"paid: {_LOW}"]
    paid_high: Annotated[Number, f"paid: {_HIGH}"]


# A larger amount is a mistake: so sums stay within BigQuery's NUMERIC.
MAXIMUM_AMOUNT = 1e15


class WeekValue(Part):
    """Money that was expected in a week, and money that users paid."""

    value_promised: Annotated[Decimal, "Sum of the expected values", NULLABLE]
    value_observed: Annotated[Decimal, "Sum that users paid", NULLABLE]
    value_gini: Annotated[Number, "Order by money: 1 the best, 0 by chance", DETAIL]
    revenue_at_budget: Annotated[Number, "Share paid by the top k by value", DETAIL]
    revenue_at_budget_by_probability: Annotated[
        Number, "Share paid by the top k by probability", DETAIL
    ] = None
    value_observed_low: Annotated[Number, f"value_observed: {_LOW}", DETAIL] = None
    value_observed_high: Annotated[Number, f"value_observed: {_HIGH}", DETAIL] = None
    value_error: Annotated[Number, "Promised over observed, less 1", DETAIL] = None
    value_error_low: Annotated[Number, f"value_error: {_LOW}", DETAIL] = None
    value_error_high: Annotated[Number, f"value_error: {_HIGH}", DETAIL] = None
    value_top_share: Annotated[Number, "Revenue of the top 10%, a share", DETAIL] = None
    value_deciles: Annotated[
        Sequence[ValueDecile],
        "Deciles of the expected value, highest first",
        DETAIL,
    ] = ()


class Unidentified(Part):
    """Purchases of a week that no prediction can be about: the export has no id."""

    purchases: Annotated[Count, "Purchases of the week, with and without an id", DETAIL]
    purchases_without_id: Annotated[Count, "Those without a user id", DETAIL]
    revenue: Annotated[Money, "What all purchases brought", DETAIL]
    revenue_without_id: Annotated[Money, "What those without an id brought", DETAIL]


class Category(Row):
    """Users of a week with the same value of a category."""

    category: Annotated[str, "A feature of the use case"]
    value: Annotated[str, "Empty for none; others for all less common ones"]
    users: Annotated[int, "Users with a prediction"]
    conversions: Annotated[int, "Positives among them"]
    mean_probability: Annotated[float, "Mean of their probabilities"]
    base_rate: Annotated[float, "Share of positives"]
    roc_auc: Annotated[Number, "ROC AUC among them; only of presence"] = None
    lift_at_budget: Annotated[
        Number, "Lift of the budget's share of them; only of presence"
    ] = None


class Compared(Part):
    """What was expected of a week by category, and what came."""

    categories: Annotated[
        Sequence[Category],
        "Active and away users, and the commonest values of each declared category",
        DETAIL,
    ] = ()


class Truths(Part):
    """How much is known of the events of a day."""

    unknown_outcomes: Annotated[Count, "Scored, and their label never arrived", DETAIL]
    conflicting_outcomes: Annotated[Count, "With both labels", DETAIL]


class Evaluation(Row, kw_only=True):
    """One row per week and model version: how good its predictions were."""

    details: ClassVar[str] = "metrics"

    use_case: UseCaseName
    week: Annotated[date, "First day of the outcomes"]
    model_version: Annotated[int, "Model that scored; -1 for none", NULLABLE]
    week_end: Annotated[date, "Day after the outcomes", NULLABLE]
    in_force: InForce | None = None
    run_id: RunId
    as_of: Annotated[date, "Date of the run", NULLABLE]
    status: Annotated[str, "provisional or final", NULLABLE]
    outcome: Annotated[str, "evaluated, no_predictions or one_class", NULLABLE]
    evaluated_at: Annotated[datetime, "When the run began", NULLABLE]
    metrics: Metrics | None = None
    savings: Savings | None = None
    value: WeekValue | None = None
    unscored_converters: Annotated[Count, "Positives without a probability"] = None
    bytes_billed: BytesBilled
    data_until: Annotated[date | None, "End of the days read from GA4", DETAIL]
    range: Range | None = None
    residual: Residual | None = None
    lacked: Annotated[Sequence[date], "Days that the export lacks", DETAIL] = ()
    truths: Truths | None = None
    unidentified: Unidentified | None = None
    compared: Compared | None = None


EVALUATION = Table(
    name="ma_model_evaluation",
    row=Evaluation,
    key=("use_case", "week", "model_version"),
    partition="week",
    clustering=("use_case", "model_version"),
    # Of the predictions in force, final before provisional. A day of events has a row
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
)


class Bin(Row):
    """Users with a value, or with a value in a range."""

    value: Annotated[str, "A value, or a range of numbers"]
    expected: Annotated[float, "Share in the training"]
    observed: Annotated[float, "Share of the publication"]


class Signal(Part):
    """
    A feature, the scores or the number of users, beside the training.

    Without an alarm ``cause`` and ``message`` are None.
    """

    kind: Annotated[str, "feature, score or users"]
    name: Annotated[str, "A feature; or probability, or users"]
    users: Annotated[int, "Users with a prediction", NULLABLE]
    users_before: Annotated[int, "Users of a training snapshot", NULLABLE]
    missing: Annotated[Number, "Share of users without a value"] = None
    missing_before: Annotated[Number, "That share in the training"] = None
    psi: Annotated[Number, "Population stability index; null for users"] = None
    bound: Annotated[Number, "psi from which it warns"] = None
    bins: Annotated[Sequence[Bin], "Shares by value, without season's shift"] = ()
    is_alarm: Annotated[bool, "Whether a person should look", NULLABLE] = False
    cause: Annotated[str | None, "feature, missing values, score or users"] = None
    message: Annotated[str | None, "What has changed"] = None


class Drift(Row):
    """
    One row per prediction date and feature, compared with the model's training, and
    rows for the scores and the number of users.
    """

    use_case: UseCaseName
    as_of: Annotated[date, "Prediction date"]
    model_version: Annotated[int, "Model that scored", NULLABLE]
    run_id: RunId
    written_at: Annotated[datetime, "When the run began", NULLABLE]
    signal: Signal


DRIFT = Table(
    name="ma_drift",
    row=Drift,
    key=("use_case", "as_of", "kind", "name"),
    partition="as_of",
    clustering=("use_case", "kind"),
    newest="""\
  RANK() OVER (
    PARTITION BY use_case, as_of
    ORDER BY written_at DESC, run_id
  ) = 1""",
)


class Preprocessor(Row):
    """One row per upload of a preprocessor; training takes the newest."""

    use_case: UseCaseName
    uploaded_on: Annotated[date, "UTC day of the upload"]
    uploaded_at: Annotated[datetime, "When it was uploaded"]
    object: Annotated[str, "Object name"]
    sha256: Annotated[str, "SHA-256 of its bytes"]
    features: Annotated[str | None, "The features it was checked on, JSON"]
    is_default: Annotated[bool | None, "Whether it puts the default back in its place"]


PREPROCESSORS = Table(
    name="ma_preprocessors",
    row=Preprocessor,
    key=("use_case", "sha256"),
    partition="uploaded_on",
    clustering=("use_case",),
)


class Prediction(Row):
    """One row per user: the newest probability."""

    use_case: UseCaseName
    user_id: Annotated[str, "The user"]
    as_of: Annotated[date, "Prediction date"]
    probability: Annotated[float, "That the outcome comes, 0 to 1"]
    percentile: Annotated[int | None, "Rank within its date, 1 to 100 highest"]
    model_version: Annotated[int, "Model that scored"]
    scored_at: Annotated[datetime | None, "When the run began"]
    data_until: Annotated[date | None, "End of the export's data"]
    log_odds_shift: Annotated[float | None, "Season's shift; null without"]
    expected_value: Annotated[Decimal | None, "Probability times expected amount"]
    decile_value: Annotated[Decimal | None, "Mean expected_value of its decile"]


PREDICTIONS = Table(
    name="ma_predictions_table",
    row=Prediction,
    key=("use_case", "user_id"),
    partition="as_of",
    clustering=("use_case", "user_id"),
)


# The name of a view: the rows of SCORES of the runs that PUBLICATIONS has, in the
# columns of PREDICTIONS, and with the categories and effects.
PREDICTIONS_HISTORY = "ma_predictions_history"


class AddedProbability(Row):
    """What contacting a user adds."""

    audience: Annotated[str, "An audience that is ordered by effect"]
    effect: Annotated[float, "Added probability if it contacts the user"]


class Score(Row):
    """One row per run of 01-Predictions and user: what it has scored."""

    use_case: UseCaseName
    user_id: Annotated[str, "The user"]
    as_of: Annotated[date, "Prediction date"]
    probability: Annotated[float, "That the outcome comes, 0 to 1"]
    run_id: Annotated[str, "The run that scored"]
    expected_value: Annotated[Decimal | None, "Probability times expected amount"]
    categories: Annotated[str | None, "Those that the week is compared by, JSON"]
    effects: Annotated[Sequence[AddedProbability], "Empty in newer rows"] = ()


SCORES = Table(
    name="ma_predictions_runs",
    row=Score,
    key=("use_case", "as_of", "run_id", "user_id"),
    partition="as_of",
    clustering=("use_case", "run_id", "user_id"),
    requires_filter=True,
)


class ExpectedDecile(Row):
    """A tenth of the users of a prediction date, by expected value."""

    least: Annotated[Decimal, "Least expected value in it"]
    mean: Annotated[Decimal, "Mean of the expected values, to the cent"]


class Publication(Row):
    """One row per published prediction date: its users, probabilities and cost."""

    use_case: UseCaseName
    as_of: Annotated[date, "Prediction date"]
    model_version: Annotated[int, "Model that scored"]
    run_id: Annotated[str | None, "The run that published"]
    scored_at: Annotated[datetime | None, "When that run began"]
    published_at: Annotated[datetime | None, "When it published; the newest counts"]
    data_until: Annotated[date | None, "End of the export's data"]
    users: Annotated[int | None, "Users with a probability"]
    mean_probability: Annotated[float | None, "Mean of their probabilities"]
    quantiles: Annotated[Sequence[float], "Least, 99 percentiles, greatest"]
    log_odds_shift: Annotated[float | None, "Season's shift; null without"]
    value_promised: Annotated[Decimal | None, "Sum of expected values; null without"]
    bytes_billed: BytesBilled
    seconds: Annotated[float | None, "Seconds until this row"]
    value_deciles: Annotated[
        Sequence[ExpectedDecile], "Deciles of the expected value, the lowest first"
    ]
    range: Range | None = None


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
