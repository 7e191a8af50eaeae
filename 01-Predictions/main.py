"""
01-Predictions: score every user of the lookback as of one day.

    features --> champion --> season --> staging --> history and current table --> index

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     the use case's source, ma_model_evaluation (BigQuery), the champion (bucket)
Writes    ma_predictions_history: replaces all rows of the as-of date;
          ma_predictions_table: replaces rows of these users, adds new ones
          ma_drift: what has changed; ma_publications: what was promised, and what
          it cost; in the bucket: indexes/ for lookups, suppressed/ beside them
Answers   200 version, users, mean, drift; 400 events; 409 no champion, other features,
          scores that jumped (unless forced); 424 no table; 503 try again, or wait
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.runs import (
    champion,
    export,
    index,
    predict,
    publications,
    season,
    staging,
)
from propensity.runs.run import Answer, Run, run


@functions_framework.http
@run("predictions", kind="predict", once=False, clock=SYSTEM)
def predictions(current: Run) -> Answer:
    """Score and publish; after a failure the last published predictions stay."""
    predict.check_scores_users(current)
    evaluation_missing = not predict.is_evaluated(current)
    days = export.wait_for_days(current)
    model = champion.as_of(current)
    shift = season.log_odds_shift(current, model.version)
    features = predict.features(current)
    staged = staging.stage(current, model, features, shift=shift)
    watched, score_shift = publications.publish(current, model, staged)
    index_users = index.publish(current)
    publications.record(current, model, staged)
    return {
        "model_version": model.version,
        **staged.answer(),
        "score_shift": score_shift,
        "evaluation_missing": evaluation_missing,
        "index_users": index_users,
        **watched.answer(),
        **days,
    }
