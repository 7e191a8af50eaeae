"""
Errors, specified: one tree, each with a status, a code, and whether a retry helps.
"""

from __future__ import annotations

import inspect
import json

import pytest

from propensity import errors
from propensity.errors import (
    ExportLate,
    MethodNotAllowed,
    PropensityError,
    RequestError,
)

CLASSES = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, Exception)
]


def example(kind: type[PropensityError]) -> PropensityError:
    """An error of a kind, as the code raises it."""
    if kind is MethodNotAllowed:
        return MethodNotAllowed("PUT", allowed=("GET", "POST"))
    if kind is ExportLate:
        return ExportLate("a day is missing", retry_after_s=600, detail={})
    return kind("what was wanted, what was found, what to do")


class TestTree:
    @pytest.mark.parametrize("kind", CLASSES)
    def test_has_one_root_and_statuses_of_failures(self, kind):
        """An entry point catches everything that goes wrong on purpose by one name,
        and answers with a 4xx or a 5xx. The page of errors is the docstrings."""
        assert issubclass(kind, PropensityError)
        assert 400 <= kind.status < 600
        assert kind.__doc__
        assert kind is PropensityError or kind.__doc__ != PropensityError.__doc__

    def test_has_codes_of_their_own(self):
        """A caller tells errors apart by their code."""
        codes = [kind.code for kind in CLASSES]

        assert len(set(codes)) == len(codes)

    def test_retries_only_what_may_pass_by_itself(self):
        """The scheduler delivers again where nobody has to do anything first."""
        retryable = {kind.__name__ for kind in CLASSES if kind.retryable}

        assert retryable == {
            "RunInProgress",
            "Conflict",
            "Unavailable",
            "ExportLate",
        }

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("RequestError", 400),
            ("MethodNotAllowed", 405),
            ("TooLarge", 413),
            ("SchemaError", 409),
            ("NoChampion", 409),
            ("ScoreShift", 409),
            ("RunInProgress", 409),
            ("NotEnoughData", 422),
            ("MissingTable", 424),
            ("Unavailable", 503),
            ("SettingsError", 500),
            ("UseCaseError", 500),
        ],
    )
    def test_keeps_the_statuses_that_callers_rely_on(self, name, status):
        """A status is part of the contract of a function."""
        assert getattr(errors, name).status == status


class TestBody:
    @pytest.mark.parametrize("kind", CLASSES)
    def test_says_what_happened_and_whether_to_retry(self, kind):
        """The answer has error, message and retryable, and is JSON."""
        body = json.loads(json.dumps(example(kind).body()))

        assert body["error"] == kind.code
        assert body["message"] == str(example(kind))
        assert body["retryable"] is kind.retryable

    def test_names_the_field_at_fault(self):
        """With what is known; neither is there, as null, where it does not apply."""
        body = RequestError("m", field="as_of", detail={"found": 3}).body()

        assert (body["field"], body["detail"]) == ("as_of", {"found": 3})
        assert set(RequestError("m").body()) == {"error", "message", "retryable"}

    def test_lists_the_methods_that_are_served(self):
        """A refused method is answered with those that there are."""
        refused = MethodNotAllowed("PUT", allowed=("GET", "POST"))

        assert refused.allowed == ("GET", "POST")
        assert "GET or POST" in refused.message
