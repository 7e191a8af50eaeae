"""A deployment with published predictions, and a receiver of audiences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from local.receiver import Receiver
from propensity.audience import run
from propensity.audience.declared import RULES, Declared, DeclaredAudience
from propensity.registry.deployment import open_deployment
from propensity.tables.audiences import (
    AUDIENCE_LIFT,
    AUDIENCE_MEMBERS,
    AUDIENCE_PLANS,
    AUDIENCE_REQUESTS,
)
from propensity.tables.models import PUBLICATIONS, SCORES
from propensity.tables.stream import SUPPRESSED_USERS
from tests.support import own_use_cases
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY, Deployment
from tests.support.in_process import InProcess
from tests.support.rows import publish

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
USERS = 200
START = datetime(2026, 3, 2, 6, tzinfo=UTC)
TABLES = (
    SCORES,
    PUBLICATIONS,
    SUPPRESSED_USERS,
    AUDIENCE_MEMBERS,
    AUDIENCE_REQUESTS,
    AUDIENCE_PLANS,
    AUDIENCE_LIFT,
)


def next_week(deployment: Deployment, users: dict[str, float]) -> None:
    deployment.clock.advance(WEEK.total_seconds())
    publish(deployment.warehouse, deployment.clock.now().date(), users)


def ledger(deployment: Deployment) -> list[dict[str, Any]]:
    return deployment.rows("SELECT * FROM ma_audience_ledger ORDER BY user_id, as_of")


@pytest.fixture(scope="module")
def in_process() -> Deployment:
    return InProcess(PROPENSITY_SUPPRESSION_KEY=KEY)


@pytest.fixture
def deployment(in_process) -> Iterator[Deployment]:
    """A publication of two hundred users, and nothing else; in this process."""
    in_process.empty(TABLES)
    in_process.clock = ManualClock(START)
    users = {f"u{n:03}": (n + 1) / 400 for n in range(USERS)}
    publish(in_process.warehouse, MONDAY, users)
    with in_process.installed():
        yield in_process


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """The audience winback of the use case, which goes to the destination crm."""
    with own_use_cases.in_folder(tmp_path / "own") as own:
        folder = own / "ga4_purchase" / "audiences"
        (folder / "destinations").mkdir(parents=True)
        text = 'top = 10\ncontrol = "0%"\ndestination = "crm"\n'
        (folder / "winback.toml").write_text(text)
        yield folder


@pytest.fixture
def crm(tmp_path):
    """Return the folder of audiences with the destination of a receiver."""

    def write(receiver: Receiver, *, remove: bool = False, batch: int = 25) -> Path:
        path = tmp_path / "destinations" / "crm.toml"
        path.parent.mkdir(exist_ok=True)
        removal = '[remove]\nmethod = "DELETE"\n' if remove else ""
        path.write_text(
            f'kind = "http"\nname = "crm"\nurl = "{receiver.url}/users"\n'
            f"batch = {batch}\nrate = 0\n"
            '[user]\nid = "{user_id}"\np = "{probability}"\n'
            f'{removal}[answer]\nrejected = "errors"\nuser = "id"\n'
            'reason = "message"\n'
        )
        return tmp_path

    return write


def winback(folder: Path | None = None, **changed) -> DeclaredAudience:
    """Return an audience that goes to the CRM of a folder, or to the bucket."""
    values: dict[str, Any] = {"destination": "crm" if folder else "bucket"}
    if not {*RULES} & {*changed}:
        values["top"] = 100
    declared = msgspec.convert(values | changed, Declared)
    return DeclaredAudience("winback", folder or Path(), declared)


def act(deployment: Deployment, action, named: DeclaredAudience, **more):
    """Preview or send an audience, by the settings of the environment."""
    with open_deployment() as opened_run:
        return action(opened_run, named, {}.__getitem__, clock=deployment.clock, **more)


def send(deployment, folder: Path | None = None, *, may_be_empty=False, **changed):
    named = winback(folder, **changed)
    return act(deployment, run.send, named, may_be_empty=may_be_empty).answer()


def members_of(deployment: Deployment, as_of=MONDAY, *, is_control: bool) -> set[str]:
    return {
        row["user_id"]
        for row in deployment.rows("SELECT * FROM ma_audience_members")
        if row["as_of"] == as_of and row["is_control"] == is_control
    }
