"""
02-GetProba, specified over HTTP, with the predictions in the BigQuery emulator.

``served`` runs the function's own application in this process, under a real server;
the last class runs it from its staged folder, in an environment that holds its own
requirements only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from tests.functions.looked_up import (
    ANA,
    BEN,
    KEYS,
    ask,
    lookups_sent,
    post,
    publish,
    serving,
    url,
)

# Fixtures.
__all__ = ["url"]


@pytest.fixture
def served(workplace) -> Iterator[str]:
    """The function on a workplace of its own, with Ana published, and no more."""
    publish(workplace, [ANA])
    with serving(workplace.environment) as address:
        yield address


class TestGet:
    @pytest.mark.parametrize("user", [ANA, BEN], ids=["plain", "needs encoding"])
    def test_answers_what_was_published(self, url, user):
        """The answer is the user's row, with its date, and whether that is stale."""
        answer = ask(url, user_id=user["user_id"])

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == user
        assert tuple(answer.json()) == KEYS

    def test_answers_for_the_use_case_that_is_asked_for(self, url):
        """Use cases have probabilities of their own; the default one is a setting."""
        answer = ask(url, user_id="ana.1", use_case="first_day_churn")

        assert answer.json() == ANA | {"probability": 0.5}

    def test_knows_an_unknown_user_by_status_and_nulls(self, url):
        """A user without prediction is 404, with the keys of any answer and null."""
        answer = ask(url, user_id="nobody")

        assert answer.status_code == 404
        assert answer.json()["error"] == "unknown_user"
        assert answer.json()["retryable"] is False
        assert {key: answer.json()[key] for key in KEYS} == dict.fromkeys(KEYS) | {
            "user_id": "nobody"
        }

    @pytest.mark.parametrize(
        "injection",
        [
            "' OR '1'='1",
            '" OR ""="',
            "ana.1' --",
            "ana.1'); DROP TABLE ma_predictions_table; --",
            "\\' OR 1=1 --",
            "`ma_predictions_table`",
            "@use_case",
            "%",
            "ana.1' UNION ALL SELECT * FROM ma_predictions_history --",
            "${jndi:ldap://x}",
            "{{7*7}}",
            "<script>alert(1)</script>",
            "\u202eana.1",
            "ana.1\u00ad",
            "%61na.1",
        ],
    )
    def test_takes_code_for_an_unknown_user(self, url, injection):
        """SQL in user_id is an unknown user's name; nothing happens."""
        unknown = ask(url, user_id=injection)
        assert (unknown.status_code, unknown.json()["user_id"]) == (404, injection)
        answer = post(url, {"user_ids": [injection, "ana.1"]})
        assert [user["probability"] for user in answer.json()["predictions"]] == [
            None,
            ANA["probability"],
        ]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("", "user_id"),
            ("?", "user_id"),
            ("?user_id", "user_id"),
            ("?user_id=", "user_id"),
            ("?use_case=ga4_purchase", "user_id"),
            ("?user_id=a&user_id=a", "user_id"),
            ("?user_id=a&user_id=", "user_id"),
            (f"?user_id={'x' * 257}", "user_id"),
            (f"?user_id={'x' * 20_000}", "user_id"),
            ("?user_id=a%00b", "user_id"),
            ("?user_id=a%0Ab", "user_id"),
            ("?user_id=%C2%85", "user_id"),
            ("?user_id=%FF", "user_id"),
            ("?user_id=%ED%A0%80", "user_id"),
            ("?user_id=a&user=b", "user"),
            ("?user_id=a&use_case=", "use_case"),
            ("?user_id=a&use_case=Robert'); DROP", "use_case"),
            ("?user_id=a&use_case=a&use_case=b", "use_case"),
            ("?user_id=a&use_case=../../etc", "use_case"),
            ("?user_id[]=a", "user_id[]"),
            ("?user_id=a&__proto__=1", "__proto__"),
            ("?" + "&" * 5_000, "user_id"),
            ("?user_id=a" + "&a=1" * 5_000, "user_id"),
            ("?%75ser_id=", "user_id"),
        ],
    )
    def test_refuses_what_names_no_one_user(self, url, query, field):
        """A bad request is 400 and names its field; it never reaches BigQuery."""
        answer = requests.get(url + query, timeout=60)

        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"] == "bad_request"
        assert answer.json()["retryable"] is False
        assert answer.json()["field"] == field
        assert answer.json()["message"]

    def test_answers_head_without_body(self, url):
        """HEAD has the status and headers of GET, and nothing after them."""
        get = ask(url, user_id="ana.1")
        answer = requests.head(url, params={"user_id": "ana.1"}, timeout=60)

        assert answer.status_code == 200
        assert answer.headers["content-length"] == get.headers["content-length"]
        assert answer.content == b""

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_refuses_other_methods(self, url, method):
        """Any other method is 405, and the answer names those that are served."""
        answer = requests.request(method, f"{url}?user_id=ana.1", timeout=60)

        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert answer.json()["error"] == "method_not_allowed"

    @pytest.mark.parametrize("path", ["get_proba", "v1/", "/"])
    def test_serves_one_path(self, url, path):
        """A mistyped address is 404 with an error of its own, not an unknown user."""
        answer = requests.get(f"{url}{path}?user_id=ana.1", timeout=60)

        assert answer.status_code == 404
        assert answer.json()["error"] == "no_such_path"


class TestPost:
    def test_answers_in_the_order_asked(self, url):
        """Known, unknown and repeated users each have their answer in their place."""
        users = [BEN["user_id"], "nobody", "ana.1", BEN["user_id"]]
        answer = post(url, {"user_ids": users})

        assert answer.status_code == 200
        assert answer.json() == {
            "predictions": [BEN, dict.fromkeys(KEYS) | {"user_id": "nobody"}, ANA, BEN]
        }

    def test_answers_a_thousand_users_by_one_query(self, url, module_workplace):
        """The largest request allowed is one query, and a second time none."""
        users = [f"user.{number}" for number in reversed(range(1_000))]
        before = len(lookups_sent(module_workplace))
        answers = [post(url, {"user_ids": users}) for _ in range(2)]

        for answer in answers:
            predictions = answer.json()["predictions"]
            assert predictions == [ANA | {"user_id": user} for user in users]
        assert len(lookups_sent(module_workplace)) == before + 1

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ("", "body"),
            ("{", "body"),
            ("null", "body"),
            ('["ana.1"]', "body"),
            ("[" * 100_000, "body"),
            (b'\xef\xbb\xbf{"user_ids": ["ana.1"]}', "body"),
            ('{"user_ids": ["ana.1"]}'.encode("utf-16"), "body"),
            ("{}", "user_ids"),
            ('{"user_ids": null}', "user_ids"),
            ('{"user_ids": "ana.1"}', "user_ids"),
            ('{"user_ids": {"ana.1": 1}}', "user_ids"),
            ('{"user_ids": []}', "user_ids"),
            (json.dumps({"user_ids": ["u"] * 1_001}), "user_ids"),
            ('{"user_ids": ["ana.1", 7]}', "user_ids[1]"),
            ('{"user_ids": ["ana.1", null]}', "user_ids[1]"),
            ('{"user_ids": [""]}', "user_ids[0]"),
            ('{"user_ids": ["a\\u0000"]}', "user_ids[0]"),
            ('{"user_ids": ["\\ud800"]}', "user_ids[0]"),
            (json.dumps({"user_ids": ["u" * 257]}), "user_ids[0]"),
            ('{"user_ids": ["ana.1"], "use_case": 7}', "use_case"),
            ('{"user_ids": ["ana.1"], "use_case": null}', "use_case"),
            ('{"user_ids": ["ana.1"], "use_case": "A-B"}', "use_case"),
            ('{"user_ids": ["ana.1"], "asof": "2026-03-01"}', "asof"),
            ('{"user_ids": ["ana.1"], "user_ids": ["bob.2"]}', "user_ids"),
            ('{"use_case": "a", "user_ids": ["ana.1"], "use_case": "b"}', "use_case"),
        ],
    )
    def test_refuses_a_body_it_cannot_read(self, url, body, field):
        """A malformed body is 400, and the answer names the field."""
        headers = {"Content-Type": "application/json"}
        answer = requests.post(url, data=body, headers=headers, timeout=60)

        assert answer.status_code == 400
        assert answer.json()["error"] == "bad_request"
        assert answer.json()["field"] == field

    def test_refuses_query_parameters(self, url):
        """A POST says everything in its body."""
        answer = post(f"{url}?use_case=ga4_purchase", {"user_ids": ["ana.1"]})

        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "content_type",
        [
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json-patch+json",
            "x" * 5_000,
        ],
    )
    def test_refuses_another_content_type(self, url, content_type):
        """A body must be declared to be JSON, with or without a character set."""
        body = json.dumps({"user_ids": ["ana.1"]})
        refused = requests.post(
            url, data=body, headers={"Content-Type": content_type}, timeout=60
        )
        accepted = requests.post(
            url,
            data=body,
            headers={"Content-Type": "Application/JSON; charset=utf-8"},
            timeout=60,
        )

        assert refused.status_code == 415
        assert refused.json()["field"] == "Content-Type"
        assert accepted.status_code == 200


class TestQueries:
    def test_are_limited_and_take_parameters(self, served, workplace):
        """A query may bill so much, carries a label, and holds no value in its text."""
        ask(served, user_id="ana.1")
        [job] = lookups_sent(workplace)

        assert job.maximum_bytes_billed == 8 * 1024**3
        assert job.labels == {"application": "propensity"}
        assert [parameter.name for parameter in job.query_parameters] == [
            "use_case",
            "user_ids",
        ]
        assert "ana.1" not in job.query
