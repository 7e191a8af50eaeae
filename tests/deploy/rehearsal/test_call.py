"""A request by hand, to a function that takes requests of the scheduler alone."""

from __future__ import annotations

import json

import pytest

from tests.deploy.conftest import SETTINGS
from tests.deploy.scripts.conftest import OUTPUTS, Cloud

REQUEST = '{"use_case": "ga4_purchase", "force": true}'
DONE = "2026-11-26T10:00:00Z\tok\tok\t\t"
SHIFT = "2026-11-26T10:00:00Z\tscore_shift\tscores moved by 0.9\t\t"


@pytest.fixture
def deployed(cloud) -> Cloud:
    """A cloud where the four scheduled functions are."""
    names = "model_training predictions model_evaluation compact_features"
    outputs = json.dumps({**OUTPUTS, "functions": names})
    cloud.settings = SETTINGS
    cloud.rules.insert(0, ("output -json scripts", outputs, 0))
    assert cloud.run("deploy/setup.sh", "--outputs").returncode == 0
    return cloud


@pytest.mark.parametrize(("line", "status"), [(DONE, 0), (SHIFT, 1)])
def test_a_request_by_hand_is_sent_once_and_leaves_no_schedule(deployed, line, status):
    """By a schedule of its own with that very body; the function's line is shown."""
    deployed.rules.insert(0, ("gcloud logging read", line, 0))
    result = deployed.run("deploy/call.sh", "predictions", REQUEST)
    made, started, _, removed = [c for c in deployed.calls() if "describe" not in c]

    assert result.returncode == status, result.stderr
    assert line in result.stdout
    assert f"--message-body={REQUEST} " in made
    assert "--max-retry-attempts=0" in made
    assert "--oidc-service-account-email=propensity-scheduler@" in made
    job = made.split()[5]
    assert started.startswith(f"gcloud scheduler jobs run {job} ")
    assert removed.startswith(f"gcloud scheduler jobs delete {job} ")


def test_a_set_up_meanwhile_lets_a_request_by_hand_be(deployed):
    deployed.rules.insert(0, ("scheduler jobs list", "propensity-by-hand-1-2", 0))

    assert deployed.run("deploy/setup.sh", "--yes").returncode == 0
    assert deployed.count("jobs delete") == 0


@pytest.mark.parametrize(
    "function",
    ["model_training", "predictions", "model_evaluation", "compact_features"],
)
def test_a_dry_run_shows_a_request_by_hand_and_sends_none(deployed, function):
    result = deployed.run("deploy/call.sh", function, "--dry-run")

    assert (result.returncode, deployed.calls()) == (0, [])
    assert [
        line.split()[3] for line in result.stdout.splitlines() if "jobs" in line
    ] == [
        *("create", "run", "delete"),
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["get_proba"], "FUNCTION is 'get_proba'"),
        (["predictions", "{force: true}"], "REQUEST is '{force: true}'"),
        (["predictions", "[1]"], "is not a JSON object"),
    ],
)
def test_a_request_by_hand_that_cannot_be_sent_is_said_in_a_line(deployed, words, told):
    result = deployed.run("deploy/call.sh", *words)

    assert (result.returncode > 0, deployed.changes()) == (True, [])
    [line] = result.stderr.splitlines()
    assert told in line
