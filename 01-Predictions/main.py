"""
01-Predictions: score every user of the lookback as of one day.

    export's days --> champion --> season --> features, scores --> tables --> index

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     the use case's source, ma_model_evaluation (BigQuery), the champion (bucket)
Writes    ma_predictions_runs: all scores, which ma_predictions_history shows once
          ma_publications says that the run has published them;
          ma_predictions_table: replaces rows of these users, adds new ones;
          ma_drift: what has changed; in the bucket: indexes/ for lookups, suppressed/
Answers   200 version, users, mean, drift; 400 events; 409 no champion, other features,
          scores that jumped (unless forced); 424 no table or data; 503 try again, wait
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.runs import export, predict
from propensity.runs.run import Answer, Endpoint, Run


@functions_framework.http
@Endpoint("predictions", kind="predict", once=False, clock=SYSTEM)
def predictions(run: Run) -> Answer:
    """Score and publish; after a failure the last published predictions stay."""
    predict.check_scores_users(run)
    run = export.digest_days(run)
    evaluation_missing = not predict.is_evaluated(run)
    model = predict.champion(run)
    weeks = predict.season_weeks(run)
    with predict.removed_on_failure(run):
        scored = predict.score(run, model, weeks)
        score_shift = predict.score_shift(run, scored)
        run.check_lease()
    predict.publish_scores(run, model, scored)
    index_users = predict.publish_index(run)
    predict.publish_drift(run, model, scored)
    return {
        "model_version": model.version,
        **scored.answer(),
        "score_shift": score_shift,
        "evaluation_missing": evaluation_missing,
        "index_users": index_users,
        **export.answer(run),
    }
