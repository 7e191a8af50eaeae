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


# Of the log: what it has, and the answer.
LOGGED = [
    (questions.have_permissions, lines({"outcome": "ok", "message": "counts"}), YES),
    (
        questions.have_permissions,
        lines({"outcome": "read", "message": "x denies access to y"}),
        NO,
    ),
    (questions.have_permissions, lines(), NOT_TRIED),
    (questions.spare_retries, attempts(200), YES),
    (questions.spare_retries, attempts(500), NO),
    (questions.spare_retries, attempts(), NOT_TRIED),
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
