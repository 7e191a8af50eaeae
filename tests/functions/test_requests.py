"""
Drawn requests: no word of one is logged, whoever sends it and whatever it is; and those
that docs/openapi.yaml allows and forbids are answered as it says, never with a 5xx.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local.stack.state import FUNCTIONS
from propensity.runs import setup
from tests.functions.instances import push, serving
from tests.functions.streaming import a_site
from tests.support.deployment import DEADLINE_S, Deployment, application, entered
from tests.support.described import whole

WORD = "fzzquillfeather"
WORDS = st.sampled_from([WORD, f"{WORD}-name", f"2026-{WORD}", f"é {WORD}\n", WORD * 9])
KNOWN = ("use_case", "as_of", "force", "trial", "user_id", "version", "features")
VALUES = WORDS | st.none() | st.booleans() | st.just("2026-03-02") | st.integers()
FIELDS = st.dictionaries(
    st.sampled_from(KNOWN) | WORDS, VALUES | st.dictionaries(WORDS, VALUES)
)
METHODS = ("POST", "POST", "POST", "GET", "PUT", WORD.upper())


@pytest.fixture(scope="module")
def site() -> Deployment:
    """All tables, and a champion for players."""
    site = a_site()
    setup.prepare(site.warehouse, site.settings)
    site.load_model()
    return site


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return the body of a request or of a push, right, wrong or cut short."""
    fields: Any = draw(FIELDS | WORDS | st.lists(WORDS))
    if draw(st.booleans()):
        fields = push(json.dumps(fields).encode(), attributes={WORD: WORD})
    text = json.dumps(fields)
    if draw(st.booleans()):
        text = f'{{"{WORD}": 1, "{WORD}": 2}}'
    return text.encode()[: draw(st.none() | st.integers(0, len(text)))]


@st.composite
def sent(draw: st.DrawFn) -> dict[str, Any]:
    """Return a request's method, path, query, headers and body."""
    content_type = draw(st.sampled_from(["application/json", f"text/{WORD}"]))
    headers = {"Content-Type": content_type, "traceparent": WORD, "User-Agent": WORD}
    if draw(st.booleans()):
        headers["X-CloudScheduler"] = "true"
    path = draw(st.sampled_from(["/", "/", f"/{WORD}"]))
    query = draw(st.sampled_from(["", f"?user_id={WORD}", f"?{WORD}=1"]))
    return {
        "method": draw(st.sampled_from(METHODS)),
        "path": path + query,
        "headers": headers,
        "data": draw(bodies()),
    }


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.target)
def test_no_word_of_a_request_is_logged(site, function):
    """Not of an operator's, who may have pasted a user's id into it, nor the name of an
    unknown field. The answer names the field."""

    @given(request=sent())
    def send(request: dict[str, Any]) -> None:
        path = request.pop("path")
        with contextlib.redirect_stderr(io.StringIO()) as log:
            if function.is_asynchronous:
                url = f"{address}{path[1:]}"
                requests.request(**request, url=url, timeout=DEADLINE_S)
            else:
                application(function.target).test_client().open(path, **request)
        assert WORD not in log.getvalue().casefold()

    with contextlib.ExitStack() as stack:
        if function.is_asynchronous:
            served = stack.enter_context(serving(function.target, site.environment))
            address = served.url
        else:
            stack.enter_context(entered(site.environment))
        send()


TIMEOUT_S = 60
OPERATIONS = [
    ("get_proba", "GET"),
    ("get_proba", "POST"),
    ("score", "POST"),
]


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize(("target", "method"), OPERATIONS)
def test_generated_requests_are_answered_as_described(site, target, method, mode):
    """Status, type and shape of each answer are those of the description."""
    # Each process of a test run imports this module, and one needs the library.
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    described_so = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
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
    @given(
        case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))
    )
    def send(case: Any) -> None:
        answer = case.call(base_url=function.url, timeout=TIMEOUT_S)
        case.validate_response(answer, checks=described_so)
        assert "Traceback" not in answer.text

    with serving(target, site.environment) as function:
        send()
