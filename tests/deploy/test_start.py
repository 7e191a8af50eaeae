"""
The start of what is deployed, specified: the program of a training job, and what an
instance imports before it listens. ``tests/functions/test_doors.py`` starts each
function.
"""

from __future__ import annotations

import json
import os
import sys

import pytest

from deploy.functions import ROOT
from tests.functions.instances import python_of, staged
from tests.support.programs import execute


@pytest.mark.parametrize(
    ("statuses", "called", "exits_with"),
    [([422], 1, 1), ([503, 503, 200], 3, 0), ([409] * 4, 3, 1)],
    ids=["refused", "asked to come again", "busy"],
)
def test_a_training_job_asks_until_it_is_answered(
    tmp_path, statuses, called, exits_with
):
    """Its program hands the request over without HTTP, and ends with 0 where the answer
    is 200. A training that waits for a day of the export is not over; another failure
    that may pass is tried twice more."""
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


# Starts the function as the framework does, and says what it has not imported by then.
STARTED = """
import json, sys
from functions_framework import aio
aio.create_asgi_app("score", "main.py", "http")
heavy = ["google.cloud.bigquery", "pandas", "pyarrow", "sklearn"]
print(json.dumps([name for name in heavy if name not in sys.modules]))
"""


def test_what_takes_long_is_imported_before_the_instance_listens():
    """No request for a score waits for imports."""
    process = execute(
        [python_of("score"), "-c", STARTED],
        cwd=staged("score"),
        env={"PATH": os.environ["PATH"]},
    )

    assert json.loads(process.stdout) == []
