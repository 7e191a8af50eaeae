"""
05-Audiences: send the declared audiences of a use case, each on its days.
``overview.py`` is beside it.

    newest predictions + audiences/NAME.sql --> members, control group
    members who are not in the control group --> destination, log of requests

Request   POST {"use_case", "as_of", "force"}, all optional
Reads     ma_predictions_history, what the audiences' statements read, the list of
          suppressed users, which days the export has (BigQuery); the destinations'
          secrets (Secret Manager)
Writes    ma_audience_members, ma_audience_plans, ma_audience_requests; requests to
          destinations
Answers   200 what became of each audience; 409 one was not sent, or the same run is
          under way; 503 try again, or wait for the predictions
"""

import functions_framework
from overview import overview  # noqa: F401

from propensity.clock import SYSTEM
from propensity.runs.audiences import send_due
from propensity.runs.export_age import age_of_export
from propensity.runs.run import Answer, Endpoint, Run


@functions_framework.http
@Endpoint("audiences", kind="audiences", once=False, clock=SYSTEM)
def audiences(run: Run) -> Answer:
    """Send the users who are due; a repeated run sends the rest."""
    export_age = age_of_export(run)
    return {**send_due(run), **export_age}
