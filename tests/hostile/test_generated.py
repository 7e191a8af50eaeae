"""
Generated requests, by the description in docs/openapi.yaml and against it.

Schemathesis makes requests that fit the description, and requests that break it on
purpose; whatever comes, a function answers as it is described and never with a 5xx.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.hostile.conftest import TIMEOUT_S, Serve, check_answer, described

# Requests of each operation and kind: in every run, and in the long one.
FEW = 10
MANY = 250
# A run of a scheduled function takes longer than an answer.
RUNS = {"model_evaluation", "model_training", "predictions", "compact_features"}

QUICK = [
    ("get_proba", "GET"),
    ("score", "POST"),
    ("model_evaluation", "POST"),
]
LONG = [
    *QUICK,
    ("get_proba", "POST"),
    ("get_proba", "HEAD"),
    ("stream_features", "POST"),
    ("model_training", "POST"),
    ("predictions", "POST"),
    ("compact_features", "POST"),
    ("score_stream", "POST"),
    ("archive_events", "POST"),
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
MODES = {
    "fitting": GenerationMode.POSITIVE,
    "breaking": GenerationMode.NEGATIVE,
}


def attack(
    serve: Serve, target: str, method: str, mode: str, *, count: int
) -> Counter[int]:
    """Send generated requests, check every answer, and count them by status."""
    url = serve(target).url
    schema = schemathesis.openapi.from_dict(described(target))
    operation = schema["/"][method]
    sent: Counter[int] = Counter()
    with requests.Session() as session:

        @settings(
            max_examples=count,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=MODES[mode]))
        def send(case: Any) -> None:
            answer = case.call(base_url=url, session=session, timeout=TIMEOUT_S)
            sent[answer.status_code] += 1
            body = answer.request.body
            text = body.decode(errors="replace") if isinstance(body, bytes) else ""
            case.validate_response(answer, checks=CHECKS)
            check_answer(answer_of(answer), sent=f"{answer.request.url}{text}")

        send()
    return sent


def answer_of(answer: Any) -> requests.Response:
    """Return what requests knows of an answer that Schemathesis has wrapped."""
    made = requests.Response()
    made.status_code = answer.status_code
    made._content = answer.content
    made.headers.update({name: values[0] for name, values in answer.headers.items()})
    made.request = answer.request
    return made


@pytest.mark.parametrize("mode", MODES)
class TestGeneratedRequests:
    @pytest.mark.parametrize(("target", "method"), QUICK)
    def test_are_answered_as_described(self, serve, target, method, mode):
        """A few of each kind, in every run."""
        few = FEW // 4 if target in RUNS else FEW
        sent = attack(serve, target, method, mode, count=few)

        assert sent.total() >= few // 2

    @pytest.mark.long
    @pytest.mark.parametrize(("target", "method"), LONG)
    def test_by_the_thousand_are_answered_as_described(
        self, serve, target, method, mode
    ):
        """Hundreds of each kind and operation: thousands in all."""
        many = MANY // 4 if target in RUNS else MANY
        sent = attack(serve, target, method, mode, count=many)
        print(f"\n{target} {method}, {mode}: {sent.total()} requests, {dict(sent)}")

        assert sent.total() >= many // 2
