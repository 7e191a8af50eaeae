"""A subscription service's own events, from a file to a lookup."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from local.processes import free_ports
from local.stack.state import PORTS, State
from tests.support.programs import execute

NAME = "subscription_churn"
NEW = (
    f"usecase new {NAME} --events shop.events --user customer_id --time created_at "
    "--event-name type --amount total --label churn "
    "--lookback-days 60 --horizon-days 14"
)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 200


def write(file: Path) -> None:
    """
    Write events of 700 customers, as CSV.

    Customers begin on any day. Each uses the service at a rate of its own, pays each
    thirty days, and stops. Who will soon leave comes less often, and complains.
    """
    draws = np.random.default_rng(7)
    rows = []
    for customer in range(1_000, 1_700):
        joined = draws.uniform(-60, DAYS - 20)
        end = min(joined + draws.exponential(30 + 250 * draws.uniform()), DAYS)
        days = joined + np.cumsum(draws.exponential(1 / draws.gamma(2, 0.15), 200))
        fading = np.exp(np.minimum(days - end, 0) / 12)
        comes = (days < end) & (draws.random(200) > 0.6 * fading)
        complains = draws.random(200) < 0.05 + 0.4 * fading
        for day, is_ticket in zip(days[comes], complains[comes], strict=True):
            rows.append((customer, day, "ticket" if is_ticket else "login", None))
        for day in np.arange(joined, end, 30):
            rows.append((customer, day, "payment", 9.5 + 10 * (customer % 3)))
    columns = ["customer_id", "created_at", "type", "total"]
    events = pd.DataFrame(rows, columns=columns).query("created_at >= 0")
    at = [FIRST + timedelta(days=day) for day in events["created_at"]]
    events.assign(created_at=at).to_csv(file, index=False)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_churn_of_a_subscription_is_predicted(tmp_path):
    """Trained, predicted, evaluated and looked up; better than by the last event. Also
    when the demo is played again, whose audience was sent."""
    write(tmp_path / "events.csv")
    (tmp_path / "own").mkdir()
    state = State(f"own-events-{os.getpid()}")
    environment = {
        **os.environ,
        "PROPENSITY_USE_CASES": str(tmp_path / "own"),
        "PROPENSITY_PORT_BASE": str(free_ports(PORTS)[0]),
    }
    file = tmp_path / "events.csv"
    words = f"demo --events {file} --use-case {NAME} --state {state.name} --weeks 2"
    command = [sys.executable, "-m", "commands"]
    execute([*command, *NEW.split()], env=environment)
    try:
        shown = execute([*command, *words.split()], env=environment)
        execute([*command, *words.split()], env=environment)
    finally:
        shutil.rmtree(state.folder, ignore_errors=True)

    output = shown.stdout + shown.stderr
    assert "on 200 days" in output
    assert "went live: the first model of this use case, and better than" in output
    assert "final ROC AUC" in output
    assert "404 in" in output
    assert "  200 in" in output
