"""The scheduler of local mode calls a function as Cloud Scheduler does."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest

from local.errors import LocalError
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


def test_attempts_end_where_the_schedule_ends_them():
    pauses: list[float] = []
    with Answering(500) as function:
        answer = scheduler.run(function.url, PREDICTIONS, REQUEST, sleep=pauses.append)

    assert (answer.status_code, len(function.heard)) == (500, 5)
    assert pauses == pytest.approx([1 / 6, 2 / 6, 4 / 6, 1])


def test_a_function_that_does_not_answer_in_time_is_called_again():
    """A socket that listens, and behind it nobody."""
    flags = {"attempt-deadline": "0.05s", "max-retry-attempts": "2"}
    schedule = replace(
        PREDICTIONS.schedule, flags={**PREDICTIONS.schedule.flags, **flags}
    )
    hasty = replace(PREDICTIONS, schedule=schedule)
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(LocalError, match=r"did not answer within 0\.05 s"):
            scheduler.run(url, hasty, REQUEST, sleep=pauses.append)

    assert len(pauses) == 2
