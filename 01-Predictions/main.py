"""
01-Predictions: score every user of the lookback as of one day.

    features --> champion --> season --> staging --> one transaction: history and
                                                     current table --> index

Request   POST {"use_case", "as_of", "force", "full"}, all optional
Reads     the use case's source and ma_model_evaluation (BigQuery), the champion
          (bucket, verified)
Writes    ma_predictions_history: replaces all rows of the as-of date;
          ma_predictions_table: replaces rows of these users, adds new ones
          export_user_days: sums of the days of the export that are new or have changed;
          in the bucket: features/, as scored, for some days; indexes/, which answer
          lookups; suppressed/, the list that goes with them
Answers   200 version, users, mean; 400 a use case that scores events; 409 no champion,
          other features, or scores that jumped (unless forced); 424 a table is missing;
          503 try again, or wait for the export
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.runs import (
    champion,
    export,
    index,
    predict,
    season,
    staging,
    user_days,
)
from propensity.runs.run import Answer, Run, run


@functions_framework.http
@run("predictions", kind="predict", once=False, clock=SYSTEM, can_be_full=True)
def predictions(current: Run) -> Answer:
    """Score and publish; after a failure the last published predictions stay."""
    predict.check_scores_users(current)
    evaluation_missing = not predict.is_evaluated(current)
    days = export.wait_for_days(current)
    model = champion.as_of(current)
    log_odds_shift = season.log_odds_shift(current, model.version)
    features = user_days.features(current)
    staged = staging.stage(current, model, features, log_odds_shift=log_odds_shift)
    shift = predict.score_shift(current, staged)
    predict.publish_predictions(current, model, staged)
    index_users = index.publish(current)
    return {
        "model_version": model.version,
        "users": staged.users,
        "mean_probability": staged.mean_probability,
        "log_odds_shift": log_odds_shift,
        "score_shift": shift,
        "evaluation_missing": evaluation_missing,
        "index_users": index_users,
        **days,
        **user_days.answer(current),
    }
