"""
Traces, specified: what a log line says of its request, and never what is not one.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from propensity.errors import RequestError
from propensity.gcp.asgi import answers_failures, answers_pushes
from propensity.gcp.tracing import trace_of

TRACE, SPAN = "105445aa7843bc8bf206b12000100000", "00f067aa0ba902b7"
NAME = f"projects/p/traces/{TRACE}"
FIELD = "logging.googleapis.com/"
IS_SAMPLED = FIELD + "trace_sampled"
SAMPLED = {FIELD + "trace": NAME, FIELD + "spanId": SPAN, IS_SAMPLED: True}


def of(**headers: str) -> dict[str, str | bool]:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return trace_of(pairs, project="p")


class TestTrace:
    @pytest.mark.parametrize(
        ("headers", "fields"),
        [
            ({"Traceparent": f"00-{TRACE}-{SPAN}-01"}, SAMPLED),
            ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, {**SAMPLED, IS_SAMPLED: False}),
            # Of the older header the span is a decimal, and may be missing.
            ({"X_Cloud_Trace_Context": f"{TRACE}/{int(SPAN, 16)};o=1"}, SAMPLED),
            (
                {"x_cloud_trace_context": TRACE},
                {FIELD + "trace": NAME, IS_SAMPLED: False},
            ),
            (
                {
                    "traceparent": f"00-{TRACE}-{SPAN}-01",
                    "x_cloud_trace_context": f"{'f' * 32}/1;o=1",
                },
                SAMPLED,
            ),
        ],
    )
    def test_is_read_from_the_standard_header_before_the_platforms_older_one(
        self, headers, fields
    ):
        """Trace, span, and whether it is sampled."""
        assert of(**headers) == fields

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "00",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE[1:]}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-01\n",
            f"00-{TRACE.upper()}-{SPAN}-01",
            "../../secrets",
        ],
    )
    def test_is_none_where_the_header_is_not_one(self, value):
        """Callers write headers; nothing of theirs is repeated as it came."""
        assert of(traceparent=value) == {}

    def test_is_none_without_a_project(self):
        """A trace's name begins with its project."""
        header = [("traceparent", f"00-{TRACE}-{SPAN}-01")]
        assert trace_of(header, project="") == {}

    @given(st.text(), st.text())
    def test_is_well_formed_or_none(self, standard, older):
        """Whatever is sent."""
        fields = of(traceparent=standard, x_cloud_trace_context=older)
        assert set(fields) <= {FIELD + n for n in ("trace", "spanId", "trace_sampled")}
        assert fields == {} or str(fields[FIELD + "trace"]).startswith("projects/p/")


class TestLines:
    @pytest.mark.parametrize(
        "answers",
        [answers_failures("tested"), answers_pushes("tested")],
        ids=["a public function", "a consumer"],
    )
    @pytest.mark.parametrize(
        "error", [RequestError("no", field="x"), RuntimeError()], ids=["400", "500"]
    )
    def test_of_failures_name_the_trace(self, answers, error, monkeypatch, capsys):
        """In every asynchronous function, whoever is at fault."""
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

        @answers
        async def failing(request):
            raise error

        headers = [(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        answer = asyncio.run(failing(Request(scope)))

        assert answer.status_code == (500 if isinstance(error, RuntimeError) else 400)
        [line] = capsys.readouterr().out.splitlines()
        assert json.loads(line)[FIELD + "trace"] == NAME
