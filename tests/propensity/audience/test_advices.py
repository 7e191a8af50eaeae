"""Advices of the doctor and of messages, played: after each its finding is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands.cli import main
from local.receiver import Receiver
from offline.doctor import checks
from offline.doctor.checks import Examination
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.dashboard import message
from propensity.dashboard.pages import Dashboard
from propensity.dashboard.reading import Window
from propensity.pages.findings import meanings
from propensity.settings import Settings
from tests.support.deployment import Deployment
from tests.support.rows import publish

LINE = re.compile(r"propensity (audience (?:send|end|resume|preview) [\w-]+[^,`;]*)")


@pytest.fixture
def site(deployment, folder) -> Deployment:
    """Predictions of today, and an audience that goes to a receiver."""
    users = {f"u{number:03}": (number + 1) / 400 for number in range(40)}
    publish(deployment.warehouse, datetime.now(UTC).date(), users)
    return deployment


def found(site: Deployment) -> dict[str, str]:
    """Return what the doctor finds about audiences, with its advices."""
    exam = Examination(
        settings=Settings.from_environment(),
        warehouse=site.warehouse,
        artifacts=site.artifacts,
        now=datetime.now(UTC),
        use_cases=[usecases.load("ga4_purchase")],
    )
    return {each.what: each.advice for each in checks.check_audiences(exam)}


def play(advice: str) -> None:
    """Type all commands of an advice."""
    lines = LINE.findall(advice)
    assert lines
    for line in lines:
        assert main(line.split()) == Exit.DONE, line


def at(crm, folder: Path, receiver: Receiver) -> None:
    """Let the audience's destination be a receiver."""
    written = crm(receiver, remove=True) / "destinations" / "crm.toml"
    (folder / "destinations" / "crm.toml").write_text(written.read_text())


@pytest.fixture
def sent(site, folder, crm) -> Iterator[Receiver]:
    """The receiver that a first date was sent to."""
    with Receiver() as receiver:
        at(crm, folder, receiver)
        play("propensity audience send winback")
        yield receiver


def test_an_audience_that_was_never_sent_is_sent(site, folder, crm):
    with Receiver() as receiver:
        at(crm, folder, receiver)
        [(what, advice)] = found(site).items()
        play(advice)

    assert "was never sent" in what
    assert found(site) == {}


def test_an_audience_that_has_ended_is_taken_off_its_list(site, folder, sent):
    (folder / "winback.toml").unlink()
    [(what, advice)] = found(site).items()
    play(advice)

    assert "on its list, and the audience has ended" in what
    assert found(site) == {}
    assert {action for action, _ in sent.users} == {"add", "remove"}


def test_an_audience_that_is_stopped_is_resumed(site, sent):
    """By the command that the meaning of the finding names."""
    assert main(["audience", "stop", "winback"]) == Exit.DONE

    def needs() -> str:
        settings = Settings.from_environment()
        today = datetime.now(UTC).date()
        window = Window.up_to(today)
        read = Dashboard.read(settings, site.warehouse, site.artifacts, window)
        return message.sentences(read, link="")[2]

    before = needs()
    [command] = re.findall(r"propensity (audience \w+)", meanings()["stopped"].does)
    play(f"propensity {command} winback")

    assert "Audience winback is stopped." in before
    assert "is stopped" not in needs()
