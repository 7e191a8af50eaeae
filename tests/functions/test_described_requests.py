"""
Requests that docs/openapi.yaml allows and forbids, as Schemathesis makes them:
functions answer as they are described, never with a 5xx.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

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

from offline import load_model
from propensity.runs import setup
from tests.functions.instances import serving
from tests.functions.streaming import a_site
from tests.support.deployment import Deployment
from tests.support.described import whole

TIMEOUT_S = 60
OPERATIONS = [
    ("get_proba", "GET"),
    ("get_proba", "POST"),
    ("score", "POST"),
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def site() -> Deployment:
    """All tables, and a champion for players."""
    site = a_site()
    setup.prepare(site.warehouse, site.settings)
    load_model.load(site.warehouse, site.artifacts, site.settings)
    return site


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("target", "method"), OPERATIONS)
def test_generated_requests_are_answered_as_described(site, target, method, mode):
    """Status, type and shape of each answer are those of the description."""
    path = whole()["paths"][f"/propensity-{target.replace('_', '-')}"]
    described = {**whole(), "paths": {"/": path}, "servers": [{"url": "/"}]}
    operation = schemathesis.openapi.from_dict(described)["/"][method]

    @settings(
        max_examples=10,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call(base_url=function.url, timeout=TIMEOUT_S)
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text

    with serving(target, site.environment) as function:
        send()


@pytest.mark.parametrize("target", ["get_proba", "stream_features"])
def test_a_broken_chunk_is_the_callers_fault(site, target, capfd):
    """A body whose chunk is cut short is answered with 400, and no trace is logged."""
    head = (
        "POST / HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with serving(target, site.environment) as function:
        url = urlsplit(function.url)
        address = url.hostname, url.port
        with socket.create_connection(address, TIMEOUT_S) as connection:
            connection.sendall(head.encode() + b"ZZ\r\n")
            connection.shutdown(socket.SHUT_WR)
            received = connection.recv(65_536)

    assert received.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in capfd.readouterr().err
