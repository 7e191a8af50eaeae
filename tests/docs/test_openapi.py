"""
The OpenAPI description, specified: it is of the code that serves, and says no less.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import flask
import jsonschema_rs
import pytest
import schemathesis
import yaml

from docs import openapi
from local.stack.state import FUNCTIONS, ROOT
from propensity import errors, ids, tables, usecases
from propensity.events import messages
from propensity.events.values import Refused, numeral_of
from propensity.learning import modelcard
from propensity.online import lookup, question, score, score_request
from propensity.registry.versions import Published
from propensity.runs.request import MAXIMUM_BODY, parse
from propensity.settings import Settings
from tests.described import whole
from tests.docs.pages import ERRORS

FOLDERS = {function.target: function.folder for function in FUNCTIONS}
NOW = datetime(2026, 3, 2, tzinfo=UTC)
ROW = re.compile(r"^\| ([45]\d\d) \| ([^|]+) \|", re.MULTILINE)


def schema(name: str) -> dict[str, Any]:
    return whole()["components"]["schemas"][name]


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


def operations(target: str) -> list[dict[str, Any]]:
    return [*whole()["paths"][openapi.path_of(target)].values()]


def references(part: Any) -> set[str]:
    """Return all references within a part of the description."""
    if isinstance(part, dict):
        own = {part["$ref"]} if "$ref" in part else set()
        return own.union(*map(references, part.values()))
    if isinstance(part, list):
        return set().union(*map(references, part))
    return set()


def codes(answer: Any) -> set[str]:
    """Return the words that an answer's schema allows for its error."""
    if isinstance(answer, dict):
        error = answer.get("error")
        if isinstance(error, dict):
            return {*error.get("enum", ()), *filter(None, [error.get("const")])}
        return {code for part in answer.values() for code in codes(part)} | _named(
            answer
        )
    if isinstance(answer, list):
        return {code for part in answer for code in codes(part)}
    return set()


def _named(answer: dict[str, Any]) -> set[str]:
    kind, _, name = str(answer.get("$ref", "")).rpartition("/")
    if not name or name == "Error":
        return set()
    return codes(whole()["components"][kind.rpartition("/")[2]][name])


def failures(target: str) -> dict[str, set[str]]:
    """Return the errors that a function is described with, by status."""
    found: dict[str, set[str]] = defaultdict(set)
    for operation in operations(target):
        for status, answer in operation["responses"].items():
            if status >= "400":
                found[status] |= codes(answer)
    return found


class TestDescription:
    def test_is_openapi(self):
        """It is valid by OpenAPI 3.1's own schema."""
        schemathesis.openapi.from_dict(whole()).validate()

    def test_refers_to_what_it_has(self):
        """Each reference leads somewhere, or no client can be generated of it."""
        lost = []
        for reference in sorted(references(whole())):
            place: Any = whole()
            for name in reference.removeprefix("#/").split("/"):
                place = place.get(name, {})
            if not place:
                lost.append(reference)

        assert lost == []

    def test_says_each_answer_once(self):
        """An answer that two operations give is described in one place."""
        answers = [
            json.dumps([status, answer])
            for target in FOLDERS
            for operation in operations(target)
            for status, answer in operation["responses"].items()
            if "$ref" not in answer
        ]

        assert sorted(answers) == sorted({*answers})

    def test_has_every_function(self):
        """One path for each."""
        assert {*whole()["paths"]} == {openapi.path_of(name) for name in FOLDERS}


class TestErrors:
    @pytest.mark.parametrize("folder", sorted({*FOLDERS.values()}))
    def test_are_those_of_the_functions_page(self, folder):
        """What a README lists is described with its status, and nothing else is."""
        page = (ROOT / folder / "README.md").read_text("utf-8")
        listed = {
            (status, word)
            for status, words in ROW.findall(page)
            for word in re.findall(r"`([^`]+)`", words)
        }
        described = {
            (status, word)
            for target in FOLDERS
            if FOLDERS[target] == folder
            for status, words in failures(target).items()
            for word in words
        }
        # What is behind a consumer is always 500: Pub/Sub shall come again.
        again = {("500", one.code) for one in openapi.AGAIN}
        scheduled = {("500", one.code) for one in openapi.BEHIND}

        assert listed <= described
        assert described - listed <= again | scheduled

    def test_are_of_their_status(self):
        """A word is described under the status of its class, or as a failure behind."""
        known = {(str(error.status), error.code) for error in ERRORS.values()}
        known |= {("404", "unknown_user")}
        known |= {("500", one.code) for one in openapi.AGAIN}
        described = {
            (status, word)
            for target in FOLDERS
            for status, words in failures(target).items()
            for word in words
        }

        assert described <= known


class TestFields:
    def test_of_a_run_are_those_that_are_taken(self):
        """The refusal of an unknown field lists the same."""
        app = flask.Flask("f")
        body = b'{"no_such_field": 1}'
        with (
            app.test_request_context("/", method="POST", data=body),
            pytest.raises(errors.RequestError) as refused,
        ):
            parse(flask.request, default_use_case="x", today=date(2026, 3, 1))
        known = refused.value.message.partition("known are ")[2].split(", ")

        assert [*schema("Run")["properties"]] == known

    @pytest.mark.parametrize("name", ["use_case", "as_of", "force"])
    @pytest.mark.parametrize(
        "value", [None, "", 0, 1.5, True, [], {}, "ga4_purchase", "2026-03-01"]
    )
    def test_of_a_run_have_the_values_that_are_taken(self, name, value):
        """Of each field: null means what its absence does, or is refused."""
        body = {name: value}

        def taken() -> None:
            app = flask.Flask("f")
            with app.test_request_context("/", method="POST", json=body):
                run = parse(
                    flask.request,
                    default_use_case="ga4_purchase",
                    today=date(2026, 3, 2),
                )
            usecases.load(run.use_case)

        assert is_valid("PredictionRun", body) == is_accepted(taken)

    def test_of_a_run_of_predictions_have_a_use_case_of_users(self):
        """One that scores events as they happen has nobody to score by day."""
        by_day = {
            name for name in usecases.names() if not usecases.load(name).scores_events
        }

        assert {*schema("PredictionRun")["properties"]["use_case"]["enum"]} == by_day
        assert {*schema("Run")["properties"]["use_case"]["enum"]} > by_day

    def test_of_a_training_are_those_of_its_answer(self):
        """Every key of the answer, and no other."""
        anything: Any = defaultdict(
            lambda: None, quality=defaultdict(lambda: None), verdict=defaultdict(str)
        )
        anything["outcomes"] = {"x": 1}
        made = modelcard.answer(
            anything, Published(version=0, objects={}, checksums={})
        )
        around = {"use_case", "as_of", "bytes_billed", "repeated"}
        around |= {"data_until", "late_days", "missing_days", "streamed_days"}

        assert {*schema("Training")["properties"]} == {*made} | around

    def test_of_a_week_are_the_columns_of_its_table(self):
        """As ma_model_evaluation has them, but for the long counts by threshold."""
        columns = {column.name for column in tables.EVALUATION.columns}
        columns -= {"thresholds"}

        assert {*schema("EvaluatedWeek")["properties"]} == columns

    def test_of_an_audience_are_the_columns_of_its_table(self):
        """As ma_audience_lift has them, but for the sums."""
        columns = {column.name for column in tables.AUDIENCE_LIFT.columns}

        assert {*schema("AudienceLift")["properties"]} == columns - {"sums"}
        assert "audiences" in schema("Evaluation")["properties"]

    def test_of_a_prediction_are_those_that_are_rendered(self):
        """For a known user and for an unknown one."""
        found = lookup.Prediction("u", 0.5, date(2026, 3, 1), 3, 1)
        known = yaml.safe_load(lookup.rendered("u", found, oldest=0))
        unknown = yaml.safe_load(lookup.rendered("u", None, oldest=0))

        assert [*schema("Prediction")["properties"]] == [*known]
        assert [*schema("UnpredictedUser")["properties"]] == [*unknown]

    @pytest.mark.parametrize("name", ["ExplainedPrediction", "ValuedPrediction"])
    def test_of_a_prediction_with_more_are_columns_of_the_table(self, name):
        """Reasons and expected values are beside what every prediction has."""
        columns = {column.name for column in tables.PREDICTIONS.columns}
        more = {*schema(name)["properties"]} - {*schema("Prediction")["properties"]}

        assert {*schema(name)["required"]} == {*schema(name)["properties"]}
        assert more
        assert more <= columns

    def test_of_a_prediction_with_more_go_first(self):
        """Generated clients take the first shape that has its fields: the plain one
        would lose reasons and values."""
        [answer] = whole()["paths"][openapi.path_of("get_proba")]["get"]["responses"][
            "200"
        ]["content"].values()

        last = answer["schema"]["anyOf"][-1]["$ref"]
        assert last == "#/components/schemas/Prediction"

    @pytest.mark.parametrize("name", usecases.names())
    def test_of_features_are_those_of_the_use_case(self, name):
        """Each feature, all of them required."""
        made = schema("".join(part.title() for part in name.split("_")) + "Features")

        assert {*made["required"]} == {*usecases.load(name).features}

    def test_of_a_question_are_the_ways_to_ask(self):
        """What is scored is said in one of the ways that are read."""
        ways = [one["required"][0] for one in schema("Question")["anyOf"][:-1]]

        assert ways == [*score_request.WAYS]

    @pytest.mark.parametrize("value", [None, "", 0, True, [], "card_fraud", "nobody"])
    def test_of_a_question_have_a_use_case_that_is_taken(self, value):
        """Null means what its absence does, as with its other fields."""
        features = dict.fromkeys(usecases.load("card_fraud").features, 0.5)
        reader = score_request.Reader(
            map(usecases.load, usecases.names()),
            default="ga4_purchase",
            maximum_instances=1,
        )

        for way in ({"features": features}, {"instances": [features]}, features):
            body = {**way, "use_case": value}
            sent = json.dumps(body).encode()
            is_taken = is_accepted(partial(reader.question, sent, latest=NOW))
            assert is_valid("Question", body) == is_taken

    @pytest.mark.parametrize("identity", ["transaction_id", "event_id"])
    @pytest.mark.parametrize("value", ["c0ffee01", 12345678901234567890, None])
    def test_of_a_question_have_the_identity_of_its_event(self, identity, value):
        """Beside features as among them, a text or a whole number."""
        features = dict.fromkeys(usecases.load("card_fraud").features, 0.5)
        questions = [{"features": features}, features]

        for asked in questions:
            assert is_valid("Question", {**asked, identity: value})
            assert not is_valid("Question", {**asked, identity: 1.5})

    @pytest.mark.parametrize(
        "text", ["-1.3598071336738", "1.5e-05", "149.62", "+2", ".5", "5.", "1E3"]
    )
    def test_of_numbers_in_texts_are_those_of_programs(self, text):
        """With all their digits and with an exponent, as they are read."""
        features = dict.fromkeys(usecases.load("card_fraud").features, text)

        assert math.isfinite(numeral_of(text, field="V1"))
        assert is_valid("CardFraudFeatures", features)

    @pytest.mark.parametrize("text", ["", "NaN", "inf", "1,5", "0x1", "1e", "1_0", "."])
    def test_of_numbers_in_texts_are_none_that_is_refused(self, text):
        """What a function would answer by 400."""
        features = dict.fromkeys(usecases.load("card_fraud").features, text)

        with pytest.raises(Refused):
            numeral_of(text, field="V1")
        assert not is_valid("CardFraudFeatures", features)


class TestLimits:
    def test_of_bodies_are_those_of_the_code(self):
        """Every operation with a body says how large it may be."""
        told = {
            target: operation["x-maximum-body-bytes"]
            for target in FOLDERS
            for operation in operations(target)
            if "requestBody" in operation
        }

        assert told == {
            **dict.fromkeys(FOLDERS, MAXIMUM_BODY),
            "get_proba": question.MAXIMUM_BODY_BYTES,
            "score": score.MAXIMUM_BODY_BYTES,
            **dict.fromkeys(openapi.CONSUMERS, messages.MAXIMUM_BODY_BYTES),
        }

    def test_of_lists_are_those_of_the_code(self):
        """Users of a lookup, instances of a question, and the length of an id."""
        users = schema("Lookup")["properties"]["user_ids"]
        [several] = [
            one["properties"]["instances"]
            for one in schema("Question")["anyOf"]
            if "instances" in one.get("properties", {})
        ]

        assert users["maxItems"] == question.MAXIMUM_USERS
        assert several["maxItems"] == Settings(project="p").maximum_instances
        assert schema("UserId")["maxLength"] == ids.MAXIMUM_ID_CHARACTERS
