"""
Requests that docs/openapi.yaml allows and forbids, specified: as Schemathesis makes
them, functions answer as they are described, never with a 5xx.

Each function is its staged source in a process of its own, with its own requirements.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local.processes import HOST, stop
from offline import load_model
from propensity.runs import setup
from tests.described import whole
from tests.functions.instances import Instance
from tests.functions.streaming import new_site

TIMEOUT_S = 60
OPERATIONS = {
    ("get_proba", "GET"): 10,
    ("get_proba", "POST"): 10,
    ("score", "POST"): 10,
    ("stream_features", "POST"): 10,
    # A run takes longer than an answer.
    ("model_evaluation", "POST"): 3,
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def serve(emulators, tmp_path_factory) -> Iterator[Callable[[str], Instance]]:
    """Return a function's process; the first who asks for it starts it."""
    instances: dict[str, Instance] = {}
    with new_site(emulators) as site:
        setup.prepare(site.warehouse, site.settings)
        load_model.load(site.warehouse, site.artifacts, site.settings)
        # An export is named, as runs want it, and is not there.
        environment = {**site.environment, "PROPENSITY_GA4_DATASET": "analytics_1"}

        def of(target: str) -> Instance:
            if target not in instances:
                home = tmp_path_factory.mktemp(target)
                instances[target] = Instance(target, environment, home).start()
            return instances[target]

        yield of
        stop([one.process for one in instances.values() if one.process is not None])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("target", "method"), OPERATIONS)
def test_generated_requests_are_answered_as_described(serve, target, method, mode):
    """Status, type and shape of each answer are those of the description."""
    instance = serve(target)
    path = whole()["paths"][f"/propensity-{target.replace('_', '-')}"]
    described = {**whole(), "paths": {"/": path}, "servers": [{"url": "/"}]}
    operation = schemathesis.openapi.from_dict(described)["/"][method]

    @settings(
        max_examples=OPERATIONS[target, method],
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call(base_url=instance.url, timeout=TIMEOUT_S)
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text

    send()


@pytest.mark.parametrize("target", ["get_proba", "stream_features"])
def test_a_broken_chunk_is_the_callers_fault(serve, target):
    """A body whose chunk is cut short is answered with 400, and no trace is logged."""
    instance = serve(target)
    head = (
        "POST / HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection((HOST, instance.port), TIMEOUT_S) as connection:
        connection.sendall(head.encode() + b"ZZ\r\n")
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(65_536)

    assert received.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in instance.log()
