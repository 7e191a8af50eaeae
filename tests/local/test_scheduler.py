"""The scheduler of local mode calls a function as Cloud Scheduler does."""

from __future__ import annotations

import json

import pytest

from local.receiver import Receiver
from local.stack import scheduler
from local.stack.state import FUNCTIONS

[PREDICTIONS] = [one for one in FUNCTIONS if one.target == "predictions"]
REQUEST = {"use_case": "ga4_purchase"}


class Answering(Receiver):
    """A function that gives its answers in turn, and the last of them for ever."""

    def __init__(self, *answers: int) -> None:
        super().__init__()
        self._given = list(answers)
        self.heard = []

    def take(self, method, path, headers, body):
        self.heard.append((method, dict(headers), json.loads(body)))
        given = self._given
        return given.pop(0) if len(given) > 1 else given[0], {}, {"users": 3}


def test_a_function_is_called_until_it_answers_with_success():
    """With the same request and the headers that tell a clock from a person."""
    pauses: list[float] = []
    with Answering(503, 429, 200) as function:
        answer = scheduler.run(function.url, PREDICTIONS, REQUEST, sleep=pauses.append)

    assert answer.json() == {"users": 3}
    assert pauses == pytest.approx([1 / 6, 2 / 6])
    assert [(how, body) for how, _, body in function.heard] == [("POST", REQUEST)] * 3
    for _, headers, _ in function.heard:
        assert headers["X-CloudScheduler"] == "true"
        assert headers["User-Agent"] == "Google-Cloud-Scheduler"
    due = [headers["X-CloudScheduler-ScheduleTime"] for _, headers, _ in function.heard]
    assert len({*due}) == 1
