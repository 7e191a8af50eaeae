"""
Cloud Scheduler, as a function sees it: headers, attempts, pauses, a deadline.

What it does by each function's schedule, it does here by the same flags. Only the
pauses are shorter: an hour of them is a second. There are five more attempts at most,
so the pause always doubles.

Source:
    https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs,
    RetryConfig and HttpTarget.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import requests

from deploy.functions import Function
from local.errors import LocalError


def run(
    url: str,
    function: Function,
    body: Mapping[str, Any],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> requests.Response:
    """
    Call a function until it answers 2xx, or its schedule allows no further attempt.

    Args:
        url: Of the function.
        function: One with a schedule.
        body: Of the request, as JSON.
        sleep: Waits for seconds between attempts.

    Returns:
        The last answer.

    Raises:
        LocalError: The last attempt had no answer within the deadline.
    """
    assert function.schedule
    flags = function.schedule.flags
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": function.target.replace("_", "-"),
        "X-CloudScheduler-ScheduleTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    deadline_s = _seconds(flags["attempt-deadline"])
    for pause_s in (*_pauses(flags), None):
        answer = None
        try:
            answer = requests.post(
                url, data=json.dumps(body), headers=headers, timeout=deadline_s
            )
        except requests.RequestException as error:
            failure = type(error).__name__
        if pause_s is None or (answer is not None and answer.ok):
            break
        sleep(pause_s / 3600)
    if answer is None:
        raise LocalError(
            f"{function.target} did not answer within {deadline_s:g} s: {failure}"
        )
    return answer


def _pauses(flags: Mapping[str, str]) -> Iterator[float]:
    """Yield the seconds before each further attempt."""
    pause_s, longest_s = (
        _seconds(flags[name]) for name in ("min-backoff", "max-backoff")
    )
    for number in range(int(flags["max-retry-attempts"])):
        yield min(pause_s * 2**number, longest_s)


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
