"""Audiences of two use cases with the same users, specified: each keeps to its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from propensity import usecases
from propensity.audience import run
from propensity.audience.declared import load_audience
from propensity.audience.programme import apart
from propensity.registry.deployment import open_deployment
from tests.propensity.audience.conftest import (
    MONDAY,
    USERS,
)
from tests.support import own_use_cases
from tests.support.rows import publish

CASES = ("ga4_purchase", "ga4_value")
SCORES = {f"u{n:03}": (n + 1) / 400 for n in range(USERS)}


@pytest.fixture
def declare(deployment, tmp_path):
    """Write an audience of a use case; both have predictions of the same users."""
    publish(deployment.warehouse, MONDAY, SCORES, use_case=CASES[1])
    with own_use_cases.in_folder(tmp_path / "own") as own:

        def write(use_case: str, name: str, sql: str = "", **entries: str) -> Path:
            folder = own / use_case / "audiences"
            folder.mkdir(parents=True, exist_ok=True)
            given = {"destination": "bucket", "control": "20%", **entries}
            lines = [f'{key} = "{value}"' for key, value in given.items()]
            (folder / f"{name}.toml").write_text("\n".join(["top = 100", *lines]))
            if sql:
                (folder / f"{name}.sql").write_text(sql)
            return own

        yield write


def act(deployment, action, use_case: str, name: str):
    with open_deployment(use_case) as opened_run:
        named = load_audience(usecases.load(use_case), name)
        return action(opened_run, named, {}.__getitem__, clock=deployment.clock)


def warnings(deployment, use_case: str, name: str) -> str:
    return "\n".join(act(deployment, run.preview, use_case, name)["warnings"])


@pytest.mark.parametrize("other", CASES)
def test_a_preview_warns_of_another_control_group_of_its_users(
    deployment, declare, other
):
    """Also of another use case's. The statement that it proposes, or one group, ends
    the warning."""
    declare(CASES[0], "best")
    declare(other, "top")
    called = "top" if other == CASES[0] else f"top of {other}"
    said = warnings(deployment, CASES[0], "best")

    assert f"may contact the control group of {called}, which" in said
    own = "best" if other == CASES[0] else "best of ga4_purchase"
    assert f"control group of {own}, which" in warnings(deployment, other, "top")
    with open_deployment(CASES[0]) as here:
        assert called in apart(here.settings, here.use_case)
    declare(CASES[0], "best", sql=said.partition(".sql:\n\n")[2])
    assert "may contact" not in warnings(deployment, CASES[0], "best")
    act(deployment, run.send, other, "top")
    assert act(deployment, run.preview, CASES[0], "best")["members"] == USERS - 100
    (declare(CASES[0], "best") / CASES[0] / "audiences" / "best.sql").unlink()
    declare(CASES[0], "best", control_group="top")
    assert "may contact" not in warnings(deployment, CASES[0], "best")
