"""
00-ModelTraining: train, test and perhaps promote a model as of one day.

    snapshots of features and labels --> candidates --> holdout --> champion or not
    scored events and their truths   -->

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     the use case's source (BigQuery), the champion and an uploaded preprocessor
Writes    models/<use case>/<version>/ (bucket), a row of ma_model_training_metadata,
          and the champion pointer where the model is not worse than the champion
Answers   200 what was trained; 409 the same run is under way; 422 too little data;
          424 a table is missing; 503 try again, or the export's newest day is awaited
"""

import functions_framework

from propensity.runs import steps
from propensity.runs.endpoint import Answer, Run, run


@functions_framework.http
@run("modelTraining", kind="train", once=True)
def model_training(current: Run) -> Answer:
    """Train once per use case and as-of date; a failure leaves the champion alone."""
    days = steps.wait_for_training_days(current)
    rows = steps.training_rows(current)
    trained = steps.trained_on(current, rows)
    champion = current.registry.find_champion()
    verdict = steps.compared(current, trained, champion)
    answer = steps.publish_model(
        current, trained, verdict, rows=rows, champion=champion
    )
    return {**answer, **days}
