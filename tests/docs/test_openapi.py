"""
The OpenAPI description, specified: it is valid, and takes what the code takes.

Answers are held against it wherever tests receive them, by ``tests.support.described``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from propensity import errors, usecases
from propensity.online import score_request
from tests.support.described import path_of, whole

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def is_valid(name: str, value: Any) -> bool:
    """Say whether a value is of a schema of the description."""
    components = {"components": whole()["components"]}
    wanted = {"$ref": f"#/components/schemas/{name}", **components}
    return jsonschema_rs.Draft202012Validator(wanted).is_valid(value)


def is_accepted(read: Callable[[], object]) -> bool:
    """Say whether a request is read without an error."""
    try:
        read()
    except (errors.RequestError, errors.UseCaseError):
        return False
    return True


def test_the_description_is_openapi():
    schemathesis.openapi.from_dict(whole()).validate()

    assert {*whole()["paths"]} == {path_of("get_proba"), path_of("score")}


@pytest.mark.parametrize("value", [None, "", 0, True, [], "card_fraud", "nobody"])
def test_use_cases_of_a_question_are_those_that_are_taken(value):
    features = dict.fromkeys(usecases.load("card_fraud").features, 0.5)
    known = {name: usecases.load(name) for name in usecases.names()}
    read = partial(
        score_request.question_of, use_cases=known, default="ga4_purchase", latest=NOW
    )

    for way in ({"features": features}, {"instances": [features]}, features):
        body = {**way, "use_case": value}
        is_taken = is_accepted(partial(read, body))
        assert is_valid("Question", body) == is_taken
