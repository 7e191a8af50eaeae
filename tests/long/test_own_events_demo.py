"""A subscription service's own events, from a file to a lookup."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from local.processes import free_ports
from local.stack.state import PORTS, State
from tests import subscriptions
from tests.programs import execute

NAME = "subscription_churn"
NEW = (
    f"usecase new {NAME} --events shop.events --user customer_id --time created_at "
    "--event-name type --amount total --counts login,ticket --label churn "
    "--lookback-days 60 --horizon-days 14"
)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_churn_of_a_subscription_service_is_predicted_from_its_own_events(tmp_path):
    """Trained, predicted, evaluated and looked up; better than by the last event."""
    file = subscriptions.write(tmp_path / "events.csv")
    (tmp_path / "own").mkdir()
    state = State(f"own-events-{os.getpid()}")
    environment = {
        **os.environ,
        "PROPENSITY_USE_CASES": str(tmp_path / "own"),
        "PROPENSITY_PORT_BASE": str(free_ports(PORTS)[0]),
    }
    words = f"demo --events {file} --use-case {NAME} --state {state.name} --weeks 2"
    command = [sys.executable, "-m", "propensity"]
    execute([*command, *NEW.split()], env=environment)
    try:
        shown = execute([*command, *words.split()], env=environment)
    finally:
        shutil.rmtree(state.folder, ignore_errors=True)

    output = shown.stdout + shown.stderr
    assert "of 1,394 users on 200 days" in output
    assert "promoted" in output
    assert "final ROC AUC" in output
    assert "404 in" in output
    assert "  200 in" in output
