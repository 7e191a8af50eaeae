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

import time
from collections.abc import Callable, Mapping
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

    Returns the last answer; LocalError is raised if it did not come within the
    deadline.
    """
    assert function.schedule
    flags = function.schedule.flags
    headers = {
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        # The same at each attempt.
        "X-CloudScheduler-ScheduleTime": datetime.now(UTC).isoformat(),
    }
    deadline_s = _seconds(flags["attempt-deadline"])
    pause_s = _seconds(flags["min-backoff"])
    longest_s = _seconds(flags["max-backoff"])
    retries = int(flags["max-retry-attempts"])
    while True:
        answer = None
        try:
            answer = requests.post(url, json=body, headers=headers, timeout=deadline_s)
        except requests.RequestException as error:
            failure = type(error).__name__
        if not retries or (answer is not None and answer.ok):
            break
        sleep(pause_s / 3600)
        pause_s = min(2 * pause_s, longest_s)
        retries -= 1
    if answer is None:
        raise LocalError(
            f"{function.target} did not answer within {deadline_s:g} s: {failure}"
        )
    return answer


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
