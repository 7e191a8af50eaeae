"""
Answers of functions held against docs/openapi.yaml, which programs are generated from.

What tests of functions are answered passes here: so whatever a function can say is in
the description, or a test fails.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Protocol, TypeVar

import jsonschema_rs
import yaml

from docs import openapi
from local.stack.state import ROOT


class Answer(Protocol):
    """An answer of ``requests`` or of Flask's client."""

    status_code: int
    headers: Any

    @property
    def text(self) -> str:
        """The body."""
        ...


A = TypeVar("A", bound=Answer)


@cache
def whole() -> dict[str, Any]:
    """The description, as it lies in docs/."""
    text = (ROOT / "docs/openapi.yaml").read_text()
    # In C where the wheel has it: a tenth of the time, half a second a process.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(text, loader)
    return found


@cache
def _validator(target: str, method: str, status: str) -> Any:
    """Return what an answer's JSON must be; None where it has no body."""
    operation = whole()["paths"][openapi.path_of(target)][method]
    answers = operation["responses"]
    assert status in answers, f"{target} answers {status}, which is not described"
    answer = answers[status]
    if "$ref" in answer:
        answer = whole()["components"]["responses"][answer["$ref"].split("/")[-1]]
    if "content" not in answer:
        return None
    schema = answer["content"][openapi.JSON]["schema"]
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": whole()["components"]}, validate_formats=True
    )


def check_described(target: str, answer: A, *, method: str = "POST") -> A:
    """Return an answer that is of a status, type and shape that is described."""
    status = answer.status_code
    if method.lower() not in whole()["paths"][openapi.path_of(target)]:
        assert status in (404, 405), f"{method} is not described, and answered {status}"
        method = "POST"
    validator = _validator(target, method.lower(), str(status))
    if validator is None:
        assert not answer.text, answer.text
        return answer
    kind = answer.headers["Content-Type"]
    assert kind.partition(";")[0] == openapi.JSON, kind
    problems = [
        f"{error.instance_path}: {error.message}"
        for error in validator.iter_errors(json.loads(answer.text))
    ]
    assert not problems, f"{target}, {status}: {answer.text}\n" + "\n".join(problems)
    return answer
