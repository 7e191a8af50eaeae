"""
03-ModelEvaluation: what the probabilities of past weeks were worth.

    outcomes of the week + probabilities in force for it --> figures, provisional, final
    truths of the day's events + scores as they were given -->

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     the use case's source and ma_predictions_history (BigQuery), or
          inference_log and truth_events
Writes    ma_model_evaluation: the week that ends with the as-of date, and every earlier
          one whose figures are not final yet
Answers   200 the weeks' figures; 409 the same run is under way; 424 a table is missing;
          503 try again, or the export's newest day is awaited
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.runs import evaluate, export
from propensity.runs.run import Answer, Run, run


@functions_framework.http
@run("modelEvaluation", kind="evaluate", once=False, clock=SYSTEM)
def model_evaluation(current: Run) -> Answer:
    """Evaluate; a week of one class, or without predictions, gets a row saying so."""
    days = export.wait_for_days(current)
    rows = evaluate.evaluations(current)
    evaluate.publish_evaluations(current, rows)
    return {"weeks": rows, **days}
