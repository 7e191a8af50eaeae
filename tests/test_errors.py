"""Errors: one tree, each with a status, a code, and whether a retry helps."""

from __future__ import annotations

import inspect

import pytest

from propensity import errors
from propensity.errors import PropensityError, RequestError

CLASSES = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, Exception)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_has_a_code_of_its_own(kind):
    """An entry point catches all of them by one name; a caller tells them apart by
    their code. The page of errors is the docstrings."""
    assert issubclass(kind, PropensityError)
    assert 400 <= kind.status < 600
    assert kind.__doc__
    assert [other.code for other in CLASSES].count(kind.code) == 1


def test_the_body_of_an_error_names_the_field():
    """Where there is none the body has no such entry, as openapi.yaml says."""
    body = RequestError("as_of is late").body()
    found = RequestError("as_of is late", field="as_of", detail={"found": 3}).body()

    message = {"message": "as_of is late", "retryable": False}
    assert body == {"error": "bad_request", **message}
    assert found == {**body, "field": "as_of", "detail": {"found": 3}}


def test_only_what_may_pass_by_itself_is_retried():
    """The scheduler delivers again where nobody has to do anything first."""
    retryable = {kind.__name__ for kind in CLASSES if kind.retryable}

    assert retryable == {
        "RunInProgress",
        "Conflict",
        "Unavailable",
        "QuotaExceeded",
        "ExportLate",
        "DigestUnfinished",
        "AudienceWaits",
    }
