"""
03-ModelEvaluation: measure the probabilities of past weeks by their outcomes.

    outcomes of the week + probabilities in force for it --> metrics, provisional, final
    truths of the day's events + their logged scores     -->
    outcomes of audiences' members                       --> treated against held out

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     the use case's source, ma_predictions_history, ma_audience_members and
          ma_audience_plans (BigQuery), or inference_log and truth_events
Writes    ma_model_evaluation: the week that ends with the as-of date, and earlier weeks
          without final metrics; ma_audience_lift, the same weeks of each audience,
          and ma_programme_lift, of all audiences of a control group; a page for each
          week to the bucket
Answers   200 the weeks' metrics; 409 the same run is under way; 424 no table or data;
          503 try again, or wait for the export
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.kinds.evaluation import weeks_or_days
from propensity.runs import evaluate, export, report, uplifts
from propensity.runs.run import Answer, Endpoint, Run


@functions_framework.http
@Endpoint("modelEvaluation", kind="evaluate", once=False, clock=SYSTEM)
def model_evaluation(run: Run) -> Answer:
    """Evaluate; a week of one class, or without predictions, has a row to say so."""
    run = evaluate.digest_evaluated_days(run)
    rows = evaluate.evaluations(run, weeks_or_days)
    evaluate.publish_evaluations(run, rows)
    audience_uplifts = uplifts.publish_uplifts(run)
    reports = report.write_reports(run, rows)
    return {
        **evaluate.to_json(run, rows),
        **uplifts.shown_uplifts(audience_uplifts),
        **reports,
        **export.answer(run),
    }
