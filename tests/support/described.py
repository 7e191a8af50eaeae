"""
Answers of functions, held against docs/openapi.yaml.

Every answer that a test gets passes here, so that the description has all answers of
the functions that it describes. Of others an error is one that is described.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs
import yaml

from local.stack.state import ROOT

JSON = "application/json"


@cache
def whole() -> dict[str, Any]:
    text = (ROOT / "docs/openapi.yaml").read_text()
    # In C where the wheel has it: a tenth of the time, half a second a process.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    description: dict[str, Any] = yaml.load(text, loader)
    return description


def path_of(target: str) -> str:
    """Return the path of a function, as it is deployed under the default prefix."""
    return f"/propensity-{target.replace('_', '-')}"


@cache
def _validator(target: str, method: str, status: str) -> Any:
    """Return the validator of an answer's JSON; None where it has no body."""
    answers = whole()["paths"][path_of(target)][method]["responses"]
    assert status in answers, f"{target} answers {status}, which is not described"
    answer = answers[status]
    if "$ref" in answer:
        answer = whole()["components"]["responses"][answer["$ref"].split("/")[-1]]
    if "content" not in answer:
        return None
    schema = answer["content"][JSON]["schema"]
    return _schema_validator(schema)


def _schema_validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": whole()["components"]}, validate_formats=True
    )


def _check(validator: Any, answer: Any) -> None:
    content_type = answer.headers["Content-Type"]
    assert content_type.partition(";")[0] == JSON, content_type
    problems = [
        f"{error.instance_path}: {error.message}"
        for error in validator.iter_errors(json.loads(answer.text))
    ]
    assert not problems, f"{answer.status_code}: {answer.text}\n" + "\n".join(problems)


def check_described(target: str, answer: Any, *, method: str = "POST") -> Any:
    """
    Check that status, type and shape of an answer are described, and return it.

    Args:
        answer: Of ``requests``, or of Flask's client.
    """
    status = answer.status_code
    if path_of(target) not in whole()["paths"]:
        if status >= 400:
            _check(_schema_validator({"$ref": "#/components/schemas/Error"}), answer)
        return answer
    if method.lower() not in whole()["paths"][path_of(target)]:
        assert status in (404, 405), f"{method} is not described, and answered {status}"
        method = "POST"
    validator = _validator(target, method.lower(), str(status))
    if validator is None:
        assert not answer.text, answer.text
        return answer
    _check(validator, answer)
    return answer
