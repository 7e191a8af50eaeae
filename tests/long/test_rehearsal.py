"""The steps of a rehearsal, played in local mode."""

from __future__ import annotations

import pytest

from deploy import configuration
from local.processes import free_ports
from local.rehearsal import google_cloud, steps
from local.rehearsal.run import NO, Rehearsal, asked
from local.stack.stack import SECRET, Stack
from local.stack.state import PORTS, State
from propensity.runs import setup
from tests.deploy.conftest import SETTINGS
from tests.support.deployment import entered

# What only a deploy has.
OTHERS = ("set up", "operate")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_step_can_be_played(tmp_path, monkeypatch):
    """Each is played once more on Google Cloud, by the same code."""
    monkeypatch.delenv("PROPENSITY_USE_CASES", raising=False)
    monkeypatch.setenv(SECRET, 48 * "k")
    place = Stack(State("rehearsal", tmp_path), base=free_ports(PORTS)[0])
    google_cloud.declare(place.audiences_folder)
    place.deployment = configuration.of(SETTINGS)
    with entered({**place.environment, SECRET: 48 * "k"}), place:
        rehearsal = Rehearsal(place=place)
        steps.fill(rehearsal)
        setup.prepare_export(rehearsal.warehouse, rehearsal.warehouse.settings)
        findings = []
        for name, ask in steps.STEPS.items():
            if name not in OTHERS:
                findings.append(asked(name, ask, rehearsal, failure=NO))

    assert [one for one in findings if one["answer"] != "yes"] == []
