"""
What the hostile tests share: functions as they are deployed, and what none may say.

Each function is its staged source in a process of its own, with its own requirements,
on the emulators. They serve one site: predictions of two users, a champion of first-day
churn, a stream without events. No answer may be a 5xx, since nothing is broken here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from docs import openapi
from local.processes import stop
from offline import load_model
from propensity.runs import setup
from tests.functions.instances import Instance
from tests.functions.streaming import Site, new_site

TIMEOUT_S = 60

# Nobody outside needs to know of modules, files, machines or classes.
INTERNALS = re.compile(
    r"Traceback|\.py\b|site-packages|File \\?\""
    r"|/(?:home|root|tmp|usr|opt|work|workspace)/"
    r"|0x[0-9a-f]{6,}|<class |<function |object at |propensity\.[a-z]"
    r"|\b(?:Value|Type|Key|Attribute|Index|Runtime|Unicode\w*|JSONDecode|Validation"
    r"|Propensity|GoogleAPICall|MsgspecE?)Error\b|msgspec|werkzeug|starlette|uvicorn"
    r"|gunicorn|duckdb|127\.0\.0\.1"
)

Serve = Callable[[str], Instance]


@pytest.fixture(scope="session")
def site(emulators) -> Iterator[Site]:
    """Tables, bucket and topics, with some rows."""
    # Requests come one by one: nobody would come while another is waited for.
    with new_site(emulators) as site:
        setup.prepare(site.warehouse, site.artifacts, site.settings)
        load_model.load(site.warehouse, site.artifacts, site.settings)
        site.warehouse.execute(
            "INSERT INTO ma_predictions_table"
            " (use_case, user_id, as_of, probability, percentile, model_version)"
            " VALUES ('first_day_churn', 'ana', DATE '2026-03-01', 0.5, 50, 0),"
            " ('first_day_churn', '0', DATE '2026-03-01', 0.25, 20, 0)"
        )
        yield site


@pytest.fixture(scope="session")
def serve(site, tmp_path_factory) -> Iterator[Serve]:
    """Return a function's process; the first who asks for it starts it."""
    instances: dict[str, Instance] = {}

    def of(target: str) -> Instance:
        if target not in instances:
            home = tmp_path_factory.mktemp(target)
            # An export is named, as runs want it, and is not there.
            environment = {**site.environment, "PROPENSITY_GA4_DATASET": "analytics_1"}
            instances[target] = Instance(target, environment, home).start()
        return instances[target]

    yield of
    stop(
        [
            instance.process
            for instance in instances.values()
            if instance.process is not None
        ]
    )


def described(target: str) -> dict[str, Any]:
    """Return the description of one function, at the path that it serves."""
    whole = openapi.description()
    path = whole["paths"][openapi.path_of(target)]
    return {**whole, "paths": {"/": path}, "servers": [{"url": "/"}]}


def check_answer(answer: requests.Response, *, sent: str = "") -> None:
    """Check that an answer is no failure, is JSON, and tells nothing of insides."""
    request = f"{answer.request.method} {answer.request.url}\n{sent}"
    assert answer.status_code < 500, f"{request}\n{answer.status_code} {answer.text}"
    if answer.request.method != "HEAD" and answer.content:
        assert answer.headers["Content-Type"].startswith("application/json"), request
        json.loads(answer.content)
    leak = INTERNALS.search(_unechoed(answer.text, sent))
    assert leak is None, f"{request}\n{answer.text}"
    # What serves may say its name, and no version of it.
    assert not re.search(r"\d", answer.headers.get("Server", "")), request


def _unechoed(text: str, sent: str) -> str:
    """Return an answer without what it only repeats of the request."""
    return text if not sent or INTERNALS.search(sent) is None else ""
