"""
How what is deployed starts, and what calls it, specified: Cloud Scheduler, which calls
again after whatever is not 2xx, the program of a training job, the operators' job.
``tests/functions/test_doors.py`` starts each function.

Source: cloud.google.com/scheduler/docs/configuring/retry-jobs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from datetime import date

import pytest

from deploy.functions import ROOT
from tests.deploy.conftest import SETTINGS
from tests.functions.instances import python_of, staged
from tests.support.deployment import KEY, application, entered
from tests.support.described import check_described
from tests.support.programs import execute
from tests.support.proxy import Proxy
from tests.support.rows import publish

MONDAY = date(2025, 9, 1)


def refusal(status: int, reason: str) -> tuple[int, bytes]:
    """Return the answer of Google's APIs for a failure."""
    error = {"code": status, "message": "no", "errors": [{"reason": reason}]}
    return status, json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("refused", "by_hand", "by_clock", "outcome"),
    [
        (refusal(403, "accessDenied"), 500, 200, "access_denied"),
        (refusal(503, "backendError"), 503, 503, "unavailable"),
    ],
)
def test_a_failure_that_stays_is_not_repeated(
    refused, by_hand, by_clock, outcome, capsys
):
    """The alert reads the line; whoever calls by hand sees the status as well. One that
    may pass is repeated."""
    variables = {name: of for name, of in SETTINGS.items() if "DEPLOY" not in name}
    variables["PROPENSITY_DEADLINE_S"] = "1"
    statuses = []
    with Proxy("http://127.0.0.1", lambda _: refused) as google:
        variables["BIGQUERY_EMULATOR_HOST"] = google.url
        variables["STORAGE_EMULATOR_HOST"] = google.url
        with entered(variables):
            client = application("predictions").test_client()
            for headers in ({}, {"X-CloudScheduler": "true"}):
                answer = client.post("/", headers=headers, data="{}")
                check_described("predictions", answer)
                statuses.append(answer.status_code)
    line = json.loads(capsys.readouterr().err.splitlines()[-1])

    assert statuses == [by_hand, by_clock]
    assert answer.json["retryable"] == (by_hand == by_clock)
    assert (line["status"], line["outcome"]) == (by_hand, outcome)


@pytest.mark.parametrize(
    ("statuses", "called", "exits_with"), [([503, 503, 200], 3, 0), ([409] * 4, 3, 1)]
)
def test_a_training_job_asks_until_it_is_answered(
    tmp_path, statuses, called, exits_with
):
    """A training that waits for a day of the export is not over; another failure that
    may pass is tried twice more. ``test_doors.py`` has how it ends."""
    (tmp_path / "main.py").write_text(
        "import functions_framework\n"
        f"statuses = {statuses}\n"
        "@functions_framework.http\n"
        "def train(request):\n"
        "    print(request.method, request.get_json())\n"
        "    status = statuses.pop(0)\n"
        "    headers = {'Retry-After': '0'} if status == 503 else {}\n"
        "    return {'retryable': status in (409, 503)}, status, headers\n"
    )
    program = (ROOT / "00-ModelTraining" / "job.py").read_text()
    program = program.replace("[600, 1800]", "[0, 0]")
    command = [sys.executable, "-c", program, "train", '{"use_case": "mine"}']
    done = execute(command, cwd=tmp_path, status=exits_with)

    assert done.stdout.count("POST {'use_case': 'mine'}") == called


def test_users_to_forget_are_read_once(emulated):
    """From an object that is gone then, in every generation: no word, line or file of
    the operators' job has them."""
    site = emulated.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    site.prepare()
    publish(site.warehouse, MONDAY, {"u29": 0.5, "u30": 0.5})
    artifacts = site.registry.artifacts
    name = f"operate/1-{hashlib.sha256(b'u29').hexdigest()}"
    artifacts.create(name, b"u29")
    done = execute(
        [python_of("model_training"), "operate.py", name, '["forget", "-"]'],
        cwd=staged("model_training"),
        env={"PATH": os.environ["PATH"], **site.environment},
    )
    line = json.loads(done.stderr.splitlines()[-1])

    assert (line["exit_code"], line["command"]) == (0, "forget -")
    assert not re.search(r"\bu29\b", done.stdout + done.stderr)
    assert artifacts.generations("operate/") == []
    assert site.rows("SELECT user_id FROM ma_predictions_runs") == [{"user_id": "u30"}]
