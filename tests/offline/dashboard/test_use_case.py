"""The page of a use case, specified where the other pages do not show it."""

from __future__ import annotations

from tests.offline.dashboard.rows import drift, evaluation
from tests.offline.dashboard.test_site import pages


def test_expects_of_a_week_what_was_said_of_that_week():
    """As the week's report does: a publication that was in force for a later week, too,
    said nothing of the users who came back in that."""
    before = evaluation(2)
    estimate = drift("score", "roc_auc", as_of=before["week"], estimated_roc_auc=0.4321)
    drawn = [
        pages({"evaluations": [week, before], "drift": [estimate]})[
            "use-case-ga4_purchase.html"
        ]
        for week in (evaluation(), evaluation(prediction_as_of=before["week"]))
    ]

    assert drawn[0] == drawn[1]
