"""
overview of 05-Audiences: the dashboard, and the message of the week to a chat.

    stored rows of all use cases --> pages --> bucket
    stored rows of all use cases --> five sentences --> Slack, Teams or Google Chat

Request   a POST, of the scheduler: {"as_of", "force"}, both optional
Reads     versions, evaluations, publications, drift, audiences and what contacting
          brought, dead letters (BigQuery); reports, leases (bucket); the secret
          with the address of the chat
Writes    dashboard/ and which week's message was sent (bucket); a message
Answers   200 how many pages there are, what became of the message, and its sentences;
          409 another run is under way; 503 run again
"""

import functions_framework

from propensity.clock import SYSTEM
from propensity.runs.run import Answer, Endpoint, Run


@functions_framework.http
@Endpoint("overview", kind="overview", scope="overview", once=False, clock=SYSTEM)
def overview(current: Run) -> Answer:
    """Write the dashboard, then tell a chat once a week what it shows."""
    # The other function of this folder does without.
    from propensity.dashboard.message import send_message
    from propensity.dashboard.scheduled import publish_pages, read_dashboard

    read = read_dashboard(current)
    return {**publish_pages(current, read), **send_message(current, read)}
