"""
Each assumption broken in turn: the probe that is about it says no, and no other.

On a small ground that answers for Google, see ``standin``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from deploy import functions
from local.rehearsal import questions
from local.rehearsal.probes import NO, Rehearsal, answered
from local.rehearsal.questions import QUESTIONS
from local.rehearsal.run import entered
from local.rehearsal.steps import looked_up
from propensity.errors import AccessDenied
from propensity.tables.stream import STREAM_EVENTS
from tests.deploy.conftest import KEY
from tests.functions.instances import failing
from tests.local.rehearsal.standin import DAY_BYTES, StandIn, loaded

SAMPLE = "events_20260107"


def refusal(status: int, text: str) -> tuple[int, bytes]:
    """An answer of Google's APIs."""
    reasons = {400: "invalidQuery", 403: "accessDenied"}
    error = {"code": status, "message": text}
    error["errors"] = [{"reason": reasons[status], "message": text}]
    return status, json.dumps({"error": error}).encode()


DENIED = refusal(403, "Access Denied: the account lacks a permission")


@pytest.fixture(scope="module")
def ground_floor(module_deployment):
    loaded(module_deployment)
    return module_deployment


@pytest.fixture
def ground(ground_floor, monkeypatch) -> Iterator[StandIn]:
    """A ground where everything holds, and no question takes long."""
    monkeypatch.setattr(questions, "LOOKUPS", 5)
    quick = [replace(one, minimum_backoff_s=0.1) for one in functions.SUBSCRIPTIONS]
    monkeypatch.setattr(functions, "SUBSCRIPTIONS", quick)
    ground = StandIn(ground_floor)
    ground.sample = f"{ground.settings.export}.{SAMPLE}"
    with ground.open(), entered(ground.environment):
        yield ground


def asked(ground: StandIn) -> dict[str, tuple[str, str]]:
    """Ask every question; return the answers and what was seen."""
    rehearsal = Rehearsal(
        ground=ground,
        began=datetime.now(UTC),
        is_set_up=True,
        weeks=[date(2026, 1, 20)],
        user="nobody",
    )
    rehearsal.call("compact_features")
    looked_up(rehearsal, "nobody")
    answers = {}
    for probe in QUESTIONS:
        finding = answered(probe, rehearsal)
        answers[probe.name] = (finding.answer, finding.seen)
    return answers


def said_no(ground: StandIn) -> dict[str, str]:
    return {name: seen for name, (word, seen) in asked(ground).items() if word == NO}


def test_where_everything_holds_no_probe_says_no(ground):
    """Nor does one say yes that nothing could show: a function that did nothing."""
    answers = asked(ground)
    words = {name: word for name, (word, _) in answers.items()}

    assert {name: told for name, told in answers.items() if told[0] == NO} == {}
    assert words["permissions of model_training"] == "not tried"
    assert words["keys"] == "not tried"
    assert words["permissions of get_proba"] == "yes"
    assert words["no other permissions"] == "yes"
    assert words["the token of pushes"] == "yes"
    assert words["dry runs tell the price"] == "yes"


def moved(dataset: dict[str, Any]) -> dict[str, Any]:
    return {**dataset, "location": "EU"}


def retyped(table: dict[str, Any]) -> dict[str, Any]:
    for field in table["schema"]["fields"]:
        if field["name"] == "event_timestamp":
            field["type"] = "STRING"
    return table


def unpruned(job: dict[str, Any]) -> dict[str, Any]:
    job["statistics"]["totalBytesProcessed"] = f"{DAY_BYTES}"
    job["statistics"]["query"]["totalBytesProcessed"] = f"{DAY_BYTES}"
    return job


def breaks(pattern: str, answer: Any) -> Callable[[StandIn], None]:
    """What breaks an assumption by the answers of a service."""

    def break_it(ground: StandIn) -> None:
        dataset = ground.settings.dataset
        bucket = ground.settings.bucket
        names = {"DATASET": dataset, "BUCKET": bucket}
        found = pattern
        for name, value in names.items():
            found = found.replace(name, value)
        ground.broken[found] = answer

    return break_it


def sets(**values: Any) -> Callable[[StandIn], None]:
    """What breaks an assumption by a knob of the ground."""

    def break_it(ground: StandIn) -> None:
        for name, value in values.items():
            setattr(ground, name, value)

    return break_it


TOO_MANY = "Query too large: it references too many tables, 4000, at most 1000"
BUFFER = "UPDATE or DELETE would affect rows in the streaming buffer"
BROKEN = {
    "permissions of compact_features": breaks("stream_compactions", DENIED),
    "permissions of get_proba": breaks("indexes", DENIED),
    "no other permissions": sets(held_of_others=["bigquery.tables.getData"]),
    "builds": sets(refused_builds=["the build's account was denied a log line"]),
    "private functions": sets(lets_strangers_in=True),
    "the scheduler's token": sets(takes_scheduler=False),
    "the token of pushes": sets(takes_pushes=False),
    "no useless retries": sets(headers={}),
    "runs go on": sets(hung_up="interrupted"),
    "lookups": sets(delay_s=1.1),
    "new rows can be changed": breaks("UPDATE rehearsal_rows", refusal(400, BUFFER)),
    "job records have no ids": sets(keeps_values=True),
    "wildcards name many tables": breaks("githubarchive", refusal(400, TOO_MANY)),
    "days are read alone": breaks('"dryRun": true', unpruned),
    "dry runs tell the price": sets(bills=50 * DAY_BYTES),
    "columns of the export": breaks(f"^GET .*/tables/{SAMPLE}", retyped),
    "location": breaks(r"^GET .*/datasets/DATASET(\?| |$)", moved),
    "keys": sets(kms_key=KEY),
    "alerts send mail": sets(ask=lambda _: False),
}


@pytest.mark.long
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_assumption_is_said_by_the_probe_that_is_about_it(ground, name):
    BROKEN[name](ground)

    assert list(said_no(ground)) == [name]


@pytest.mark.long
def test_a_bucket_in_another_location_is_said(ground):
    breaks(r"^GET /storage/v1/b/BUCKET(\?|$)", moved)(ground)

    assert list(said_no(ground)) == ["location"]


@pytest.mark.long
def test_a_refused_append_is_said_by_the_permissions_of_its_function(ground):
    with ExitStack() as undo:
        undo.enter_context(
            failing(STREAM_EVENTS, AccessDenied("updateData is lacking"))
        )

        assert list(said_no(ground)) == ["permissions of stream_features"]


@pytest.mark.long
def test_a_late_retry_is_said(ground, monkeypatch):
    late = [replace(one, minimum_backoff_s=600) for one in functions.SUBSCRIPTIONS]
    monkeypatch.setattr(functions, "SUBSCRIPTIONS", late)

    assert list(said_no(ground)) == ["messages come again"]


@pytest.mark.long
def test_rows_that_are_committed_late_are_said(ground, monkeypatch):
    monkeypatch.setattr(questions, "COMMIT_S", 0.0)

    assert list(said_no(ground)) == ["rows are committed soon"]


def test_every_question_is_broken_once():
    """But for permissions of functions that nothing calls here."""
    others = {"messages come again", "rows are committed soon"}
    names = {probe.name for probe in QUESTIONS if "permissions of" not in probe.name}

    assert names == {one for one in BROKEN if "permissions of" not in one} | others
