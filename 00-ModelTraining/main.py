"""
00-ModelTraining: train and test a model as of one day; promote it unless it is worse.

    snapshots of features and labels --> candidates --> holdout --> champion or not
    scored events and their truths   -->

Request   POST {"use_case", "as_of", "force", "trial"}, all optional
Reads     the use case's source (BigQuery), the champion and an uploaded preprocessor
Writes    models/<use case>/<version>/ (bucket), a row of ma_model_training_metadata,
          and the champion pointer where the model is not worse than the champion;
          a trial writes its report alone
Answers   200 the new version and its metrics; 409 the same run is under way; 422 too
          little data; 424 a table is missing; 503 try again, or wait for the export
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.kinds.training import training_steps
from propensity.runs import export, train
from propensity.runs.run import Answer, Endpoint, Run


@functions_framework.http
@Endpoint("modelTraining", kind="train", once=True, clock=SYSTEM, has_trials=True)
def model_training(run: Run) -> Answer:
    """Train once per use case and as-of date; after a failure the champion stays."""
    run = export.digest_training_days(run)
    steps = training_steps(run.use_case)
    challenger = train.train(run, steps, steps.rows(run))
    if run.trial:
        return {**train.report_trial(run, challenger), **export.answer(run)}
    return {**train.publish_model(run, challenger), **export.answer(run)}
