"""get_proba over HTTP, with the predictions in BigQuery's table."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from propensity.settings import Settings
from tests.functions.instances import Served, serving
from tests.functions.looked_up import ANA, BEN, KEYS, lookups_sent, publish

NOBODY = dict.fromkeys(KEYS) | {"user_id": "nobody"}


@pytest.fixture(scope="module")
def lookups(module_deployment) -> Iterator[Served]:
    """The function, with Ana, Ben and many others published."""
    others = [ANA | {"user_id": f"user.{number}"} for number in range(1_000)]
    publish(module_deployment, [ANA, BEN, *others])
    publish(module_deployment, [ANA | {"probability": 0.5}], use_case="first_day_churn")
    with serving("get_proba", module_deployment.environment) as function:
        yield function


class TestGet:
    @pytest.mark.parametrize("user", [ANA, BEN], ids=["plain", "needs encoding"])
    def test_a_lookup_answers_what_was_published(self, lookups, user):
        """The answer is the user's row, with its date, and whether that is stale."""
        answer = lookups.get(user_id=user["user_id"])

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == user
        assert tuple(answer.json()) == KEYS

    def test_a_lookup_answers_for_the_use_case_of_the_request(self, lookups):
        """Use cases have probabilities of their own; the default one is a setting."""
        answer = lookups.get(user_id="ana.1", use_case="first_day_churn")

        assert answer.json() == ANA | {"probability": 0.5}

    @pytest.mark.parametrize(
        "user_id",
        ["nobody", "' OR '1'='1", "ana.1'); DROP TABLE t; --", "%", "\u202eana.1"],
    )
    def test_a_lookup_of_an_unknown_user_is_404(self, lookups, user_id):
        """404, with the keys of any answer and null; SQL is an unknown user's name."""
        answer = lookups.get(user_id=user_id)

        body = answer.json()
        assert answer.status_code == 404
        assert (body["error"], body["retryable"]) == ("unknown_user", False)
        assert {key: body[key] for key in KEYS} == NOBODY | {"user_id": user_id}

    def test_a_lookup_of_an_unknown_use_case_says_which_there_are(self, lookups):
        """Defect: each user was said to have no probability, of one and of many."""
        body = {"user_ids": ["ana.1"], "use_case": "ga4_purchas"}
        one = lookups.get(user_id="ana.1", use_case="ga4_purchas")
        many = lookups.ask(body)

        for answer in (one, many):
            told = answer.json()
            assert (answer.status_code, told["error"]) == (404, "unknown_use_case")
            assert (told["field"], told["retryable"]) == ("use_case", False)
            assert "'ga4_purchase'" in told["message"]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("", "user_id"),
            ("?user_id=", "user_id"),
            ("?user_id=a&user_id=a", "user_id"),
            (f"?user_id={'x' * 257}", "user_id"),
            ("?user_id=a%00b", "user_id"),
            ("?user_id=%FF", "user_id"),
            ("?user_id=a&user=b", "user"),
            ("?user_id=a&use_case=../../etc", "use_case"),
            ("?user_id=a&value=2", "value"),
            ("?" + "&" * 5_000, "user_id"),
        ],
    )
    def test_a_lookup_refuses_what_names_no_one_user(self, lookups, query, field):
        """A bad request is 400 and names its field; it never reaches BigQuery."""
        answer = requests.get(lookups.url + query, timeout=60)

        body = answer.json()
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"
        assert (body["error"], body["retryable"]) == ("bad_request", False)
        assert body["field"] == field
        assert body["message"]

    def test_a_lookup_answers_head_without_body(self, lookups):
        """HEAD has the status and headers of GET, and nothing after them."""
        get = lookups.get(user_id="ana.1")
        answer = requests.head(lookups.url, params={"user_id": "ana.1"}, timeout=60)

        assert answer.status_code == 200
        assert answer.headers["content-length"] == get.headers["content-length"]
        assert answer.content == b""

    def test_a_lookup_serves_no_other_method_or_path(self, lookups):
        """405 names the methods; a mistyped address is no unknown user."""
        put = requests.put(f"{lookups.url}?user_id=ana.1", timeout=60)
        path = requests.get(f"{lookups.url}get_proba?user_id=ana.1", timeout=60)

        assert (put.status_code, put.headers["allow"]) == (405, "GET, HEAD, POST")
        assert put.json()["error"] == "method_not_allowed"
        assert (path.status_code, path.json()["error"]) == (404, "no_such_path")


class TestPost:
    def test_a_lookup_of_many_answers_in_the_order_of_the_request(self, lookups):
        """Known, unknown and repeated users each have their answer in their place."""
        users = [BEN["user_id"], "nobody", "ana.1", BEN["user_id"]]
        answer = lookups.ask({"user_ids": users})

        assert answer.status_code == 200
        assert answer.json() == {"predictions": [BEN, NOBODY, ANA, BEN]}

    def test_a_lookup_of_many_answers_a_thousand_users_by_one_query(
        self, lookups, module_deployment
    ):
        """The largest request allowed is one query. The query is limited, carries a
        label, and has no value in its text."""
        users = [f"user.{number}" for number in reversed(range(1_000))]
        before = len(lookups_sent(module_deployment))
        predictions = lookups.ask({"user_ids": users}).json()["predictions"]
        jobs = lookups_sent(module_deployment)

        assert predictions == [ANA | {"user_id": user} for user in users]
        assert len(jobs) == before + 1
        for job in jobs:
            assert job.maximum_bytes_billed == Settings.maximum_bytes_billed
            assert job.labels == {"application": "propensity"}
            assert {p.name for p in job.query_parameters} == {"use_case", "user_ids"}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ("", "body"),
            ('["ana.1"]', "body"),
            ("[" * 100_000, "body"),
            ('{"user_ids": ["ana.1"]}'.encode("utf-16"), "body"),
            ("{}", "user_ids"),
            ('{"user_ids": "ana.1"}', "user_ids"),
            ('{"user_ids": []}', "user_ids"),
            (json.dumps({"user_ids": ["u"] * 1_001}), "user_ids"),
            ('{"user_ids": ["ana.1", 7]}', "user_ids[1]"),
            ('{"user_ids": ["\\ud800"]}', "user_ids[0]"),
            (json.dumps({"user_ids": ["u" * 257]}), "user_ids[0]"),
            ('{"user_ids": ["ana.1"], "use_case": null}', "use_case"),
            ('{"user_ids": ["ana.1"], "use_case": "A-B"}', "use_case"),
            ('{"user_ids": ["ana.1"], "asof": "2026-03-01"}', "asof"),
            ('{"user_ids": ["ana.1"], "user_ids": ["bob.2"]}', "user_ids"),
        ],
    )
    def test_a_lookup_of_many_refuses_a_body_it_cannot_read(self, lookups, body, field):
        """A malformed body is 400, and the answer names the field."""
        answer = lookups.ask(body if isinstance(body, bytes) else body.encode())

        assert answer.status_code == 400
        assert answer.json()["error"] == "bad_request"
        assert answer.json()["field"] == field

    def test_a_lookup_of_many_refuses_query_parameters(self, lookups):
        """A POST says everything in its body."""
        url = f"{lookups.url}?use_case=ga4_purchase"
        answer = requests.post(url, json={"user_ids": ["ana.1"]}, timeout=60)

        assert answer.status_code == 400

    @pytest.mark.parametrize(
        ("content_type", "status"),
        [
            ("Application/JSON; charset=utf-8", 200),
            ("", 415),
            ("text/plain", 415),
            ("application/json-patch+json", 415),
        ],
    )
    def test_a_lookup_of_many_takes_only_json(self, lookups, content_type, status):
        """With or without a character set."""
        body = json.dumps({"user_ids": ["ana.1"]})
        headers = {"Content-Type": content_type}
        answer = requests.post(lookups.url, data=body, headers=headers, timeout=60)

        assert answer.status_code == status
        assert answer.json().get("field", "Content-Type") == "Content-Type"


class TestFailures:
    def test_a_lookup_without_a_table_says_that_nothing_is_published(self, deployment):
        """Without the table the answer is 424, and does not name it."""
        with serving("get_proba", deployment.environment) as lookups:
            answer = lookups.get(user_id="ana.1")

        assert answer.status_code == 424
        assert answer.json() == {
            "error": "missing_table",
            "message": "a table is not there yet; the function's log says which",
            "retryable": False,
        }

    def test_a_failed_lookup_is_one_line_without_the_user(self, deployment, capfd):
        """A failed request is one JSON line; nobody is named in any line."""
        publish(deployment, [ANA])
        with serving("get_proba", deployment.environment) as lookups:
            lookups.get(user_id="ana.1")
            lookups.get(user_id="secret.7\n")
            lookups.ask({"user_ids": ["secret.7", "secret.8", ""]})
        output = capfd.readouterr().err
        lines = [json.loads(line) for line in output.splitlines() if line]

        assert "ana.1" not in output
        assert "secret" not in output
        assert [(line["outcome"], line["severity"]) for line in lines] == [
            ("no_index", "WARNING"),
            ("read", "INFO"),
            ("bad_request", "WARNING"),
            ("bad_request", "WARNING"),
        ]
        assert {line["function"] for line in lines} == {"getProba"}
        assert (lines[1]["rows_in"], lines[1]["rows_out"]) == (1, 1)
        assert {"use_case", "bytes_billed"} <= set(lines[1])
