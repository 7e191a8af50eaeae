"""
01-Predictions: score every user of the lookback as of one day.

    features --> champion --> staging --> one transaction: history and current table

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     the use case's source (BigQuery), the champion (bucket, verified)
Writes    ma_predictions_history, the as-of date's rows as a whole, and
          ma_predictions_table: re-scored users overwritten, new added, others kept
Answers   200 what was published; 400 a use case that scores events; 409 no champion,
          other features, or scores that jumped (unless forced); 424 a table is missing;
          503 try again, or the export's newest day is awaited
"""

import functions_framework

from propensity.runs import steps
from propensity.runs.endpoint import Answer, Run, run


@functions_framework.http
@run("predictions", kind="predict", once=False)
def predictions(current: Run) -> Answer:
    """Score and publish; where any step fails, what was published before stays."""
    steps.check_scores_users(current)
    evaluation_missing = not steps.is_evaluated(current)
    days = steps.wait_for_days(current)
    model = steps.champion_as_of(current)
    staged = steps.stage(current, model)
    shift = steps.score_shift(current, staged)
    steps.publish_predictions(current, model, staged)
    return {
        "model_version": model.version,
        "users": staged.users,
        "mean_probability": staged.mean_probability,
        "score_shift": shift,
        "evaluation_missing": evaluation_missing,
        **days,
    }
