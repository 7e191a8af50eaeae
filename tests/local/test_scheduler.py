"""The scheduler of local mode calls a function as Cloud Scheduler does."""

from __future__ import annotations

import json

import pytest

from local.stack import scheduler
from local.stack.state import FUNCTIONS
from tests.support.receivers import Playing

[PREDICTIONS] = [one for one in FUNCTIONS if one.target == "predictions"]
REQUEST = {"use_case": "ga4_purchase"}


def test_a_function_is_called_until_it_answers_with_success():
    """With the same request and the headers that tell a clock from a person."""
    pauses: list[float] = []
    answers = [(status, {}, {"users": 3}) for status in (503, 429, 200)]
    with Playing(*answers) as function:
        answer = scheduler.run(function.url, PREDICTIONS, REQUEST, sleep=pauses.append)

    assert answer.json() == {"users": 3}
    assert pauses == pytest.approx([1 / 6, 2 / 6])
    assert len(function.heard) == 3
    due = set[str]()
    for method, _, headers, body in function.heard:
        assert (method, json.loads(body)) == ("POST", REQUEST)
        assert headers["X-CloudScheduler"] == "true"
        assert headers["User-Agent"] == "Google-Cloud-Scheduler"
        due.add(headers["X-CloudScheduler-ScheduleTime"])
    assert len(due) == 1
