"""
What a rehearsal asks of Google: each question can be answered yes and no, and where
nobody can tell it is not tried.
"""

from __future__ import annotations

import json
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Forbidden

from local.rehearsal import questions
from local.rehearsal.run import Ask, Rehearsal, asked
from tests.deploy.rehearsal.test_rehearse import again, place, scratch

__all__ = ["place", "scratch"]

YES = "yes"
NO = "no"
NOT_TRIED = "not tried"
REFUSED = "2026-11-26T10:00:00Z\tbad_request\tno such use case\t\t"


def answered(question: Ask, rehearsal: Rehearsal) -> str:
    return asked("x", question, rehearsal, failure=NOT_TRIED)["answer"]


def lines(*contents: dict[str, Any]) -> str:
    return json.dumps([{"jsonPayload": content} for content in contents])


def attempts(*statuses: int) -> str:
    return json.dumps([{"httpRequest": {"status": status}} for status in statuses])


def due(*minutes: int) -> str:
    return lines(*[{"due": f"2026-11-26T10:{minute:02}:00Z"} for minute in minutes])


def ran(outcome: str, seconds: float) -> str:
    return lines({"outcome": outcome, "seconds": seconds})


# Of the log: what it has, and the answer.
LOGGED = [
    (questions.have_permissions, lines({"outcome": "ok", "message": "counts"}), YES),
    (
        questions.have_permissions,
        lines({"outcome": "read", "message": "x denies access to y"}),
        NO,
    ),
    (
        questions.have_permissions,
        lines({"outcome": "access_denied", "message": "x"}),
        NO,
    ),
    (questions.have_permissions, lines(), NOT_TRIED),
    (questions.spare_retries, attempts(200), YES),
    (questions.spare_retries, attempts(500), NO),
    (questions.spare_retries, attempts(), NOT_TRIED),
    (questions.keep_the_time, due(2, 2, 1, 1), YES),
    (questions.keep_the_time, due(4, 3, 2, 1), NO),
    (questions.keep_the_time, due(2, 1), NOT_TRIED),
    (questions.go_on, ran("ok", 40.0), YES),
    (questions.go_on, ran("interrupted", 40.0), NO),
    (questions.go_on, ran("ok", 9.0), NOT_TRIED),
]


@pytest.mark.parametrize(("question", "log", "answer"), LOGGED)
def test_what_the_log_says(place, scratch, question, log, answer):
    """A line that is late is none that is not there: they are waited for."""
    late = ("logging read", "[]", 0, 1)
    again(scratch, late, ("logging read", log, 0), ("call.sh", REFUSED, 0))
    rehearsal = Rehearsal(place=place, weeks=[date(2025, 6, 17)])

    assert answered(question, rehearsal) == answer


@pytest.mark.parametrize(
    ("ingress", "status", "answer"),
    [("all", 403, YES), ("all", 200, NO), ("all", 404, NO), ("internal", 404, YES)],
)
def test_how_a_stranger_is_answered(place, monkeypatch, ingress, status, answer):
    """With an ingress that is internal Google has no such service for the internet."""
    place.deployment.own["ingress"] = ingress
    stranger = SimpleNamespace(status_code=status)
    monkeypatch.setattr(questions.requests, "get", lambda *_, **__: stranger)

    assert answered(questions.refuse_strangers, Rehearsal(place=place)) == answer


class BigQuery:
    """Answers with statements that read some bytes, or an error."""

    def __init__(self, *read: int, error: Any = None) -> None:
        self.read = read
        self.error = error

    def list_jobs(self, *, parent_job: Any = None, **_: Any) -> list[Any]:
        if parent_job is None:
            found = enumerate(self.read)
            return [SimpleNamespace(num_child_jobs=1, job_id=n) for n, _ in found]
        tables = [SimpleNamespace(dataset_id="rehearse1_export")]
        size = self.read[parent_job]
        return [SimpleNamespace(referenced_tables=tables, total_bytes_processed=size)]

    def query(self, *_: Any, **__: Any) -> None:
        if self.error:
            raise self.error


MANY = BadRequest("it references too many tables, 4000")
# Newest first, as BigQuery lists them.
ANSWERED = [
    (questions.prune, BigQuery(7, 118), YES),
    (questions.prune, BigQuery(118, 118), NO),
    (questions.prune, BigQuery(118), NOT_TRIED),
    (questions.name_many_tables, BigQuery(), YES),
    (questions.name_many_tables, BigQuery(error=MANY), NO),
    (questions.name_many_tables, BigQuery(error=Forbidden("no")), NOT_TRIED),
]


@pytest.mark.parametrize(("question", "client", "answer"), ANSWERED)
def test_what_bigquery_says(place, question, client, answer):
    rehearsal = Rehearsal(place=place)
    rehearsal.__dict__["warehouse"] = SimpleNamespace(client=client)

    assert answered(question, rehearsal) == answer


CRM = 'kind = "google"'


@pytest.mark.parametrize(
    ("file", "validated", "answer"),
    [
        (CRM, "yes", YES),
        (CRM, "400 INVALID_ARGUMENT", NO),
        ('kind = "webhook"', "", NOT_TRIED),
    ],
)
def test_what_googles_data_manager_says(place, monkeypatch, file, validated, answer):
    """Of a request that it validates alone, which sends nothing."""
    named = place.file.parent / "named" / "production.env"
    folder = named.parent / "usecases" / "ga4_purchase" / "audiences" / "destinations"
    folder.mkdir(parents=True)
    (folder / "ads.toml").write_text(file)
    asked_for = []

    def command(_: Any, *words: str) -> dict[str, str]:
        asked_for.append(words)
        return {"validated": validated}

    monkeypatch.setattr(questions, "command", command)
    rehearsal = Rehearsal(place=place, named=named, weeks=[date(2025, 6, 17)])

    assert answered(questions.validate, rehearsal) == answer
    assert all("--validate" in words for words in asked_for)
