"""
What Cloud Scheduler is answered: it calls again after whatever is not 2xx.

Source: cloud.google.com/scheduler/docs/configuring/retry-jobs.
"""

from __future__ import annotations

import json

import pytest

from deploy import functions
from tests.deploy.conftest import SETTINGS
from tests.deployment import application, entered
from tests.described import check_described

SCHEDULED = [one.target for one in functions.load() if one.schedule]
BY_CLOCK = {"X-CloudScheduler": "true"}


def answered(target, google, headers, body="{}"):
    """Call a function with the variables of its deploy."""
    variables = {name: of for name, of in SETTINGS.items() if "DEPLOY" not in name}
    variables |= {"PROPENSITY_DEADLINE_S": "1"}
    with entered(variables | google.environment):
        answer = application(target).test_client().post("/", headers=headers, data=body)
    return check_described(target, answer)


@pytest.mark.parametrize("target", SCHEDULED)
def test_a_failure_that_cannot_pass_is_not_repeated_and_is_logged_once(
    target, google, capsys
):
    """The alert reads the line; whoever calls by hand sees the status as well."""
    by_hand = answered(target, google, {})
    capsys.readouterr()
    by_clock = answered(target, google, BY_CLOCK)
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert (by_hand.status_code, by_clock.status_code) == (500, 200)
    assert by_clock.json["error"] == by_hand.json["error"] == "access_denied"
    assert by_clock.json["retryable"] is False
    assert (line["status"], line["outcome"]) == (500, "access_denied")


def test_a_failure_that_may_pass_is_repeated(google):
    google.status = 503
    answer = answered("predictions", google, BY_CLOCK)

    assert (answer.status_code, answer.json["retryable"]) == (503, True)


def test_a_wrong_request_is_not_repeated(google):
    answer = answered("model_training", google, BY_CLOCK, '{"use_case": "none"}')

    assert (answer.status_code, answer.json["error"]) == (200, "bad_request")
