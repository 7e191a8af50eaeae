"""
02-GetProba, specified over HTTP, with the predictions in the BigQuery emulator.

``served`` runs the function's own application in this process, under a real server;
the last class runs it from its staged folder, in an environment that holds its own
requirements only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import functions_framework.aio
import pytest
import requests
import uvicorn
from google.cloud import bigquery

from deploy import stage
from local import venvs
from local.processes import HOST, free_ports, spawn, stop
from local.stack.state import LOCAL, ROOT
from propensity import tables
from propensity.statements import statement

FOLDER = ROOT / "02-GetProba"
TODAY = datetime.now(UTC).date()
KEYS = (
    "user_id",
    "probability",
    "prediction_date",
    "model_version",
    "percentile",
    "stale",
)
ANA = {
    "user_id": "ana.1",
    "probability": 0.8125,
    "prediction_date": TODAY.isoformat(),
    "model_version": 2,
    "percentile": 99,
    "stale": False,
}
BEN = {
    "user_id": "ben 2+ü/&=?",
    "probability": 0.1,
    "prediction_date": (TODAY - timedelta(days=30)).isoformat(),
    "model_version": 1,
    "percentile": None,
    "stale": True,
}


def publish(workplace, predictions, *, use_case: str = "ga4_purchase") -> None:
    """Create the table where it is missing, and add rows to it as answers show them."""
    dataset = f"{workplace.project}.{workplace.dataset}"
    name = f"{dataset}.{tables.PREDICTIONS.name}"
    rows = [
        {
            "use_case": use_case,
            "user_id": row["user_id"],
            "as_of": row["prediction_date"],
            "probability": row["probability"],
            "percentile": row["percentile"],
            "model_version": row["model_version"],
        }
        for row in predictions
    ]
    with workplace.bigquery.client() as client:
        config = bigquery.QueryJobConfig(default_dataset=dataset)
        client.query_and_wait(tables.PREDICTIONS.ddl(), job_config=config)
        table = client.get_table(name)
        load = bigquery.LoadJobConfig(schema=table.schema)
        client.load_table_from_json(rows, name, job_config=load).result()


def withdraw(workplace) -> None:
    """Drop the table, if it is there."""
    with workplace.bigquery.client() as client:
        client.delete_table(
            f"{workplace.project}.{workplace.dataset}.{tables.PREDICTIONS.name}",
            not_found_ok=True,
        )


def lookups_sent(workplace) -> list[bigquery.QueryJob]:
    """The lookup queries that reached BigQuery in this workplace."""
    sql = statement("lookup")
    with workplace.bigquery.client() as client:
        return [
            job
            for job in client.list_jobs()
            if isinstance(job, bigquery.QueryJob)
            and job.query == sql
            and job.default_dataset.dataset_id == workplace.dataset
        ]


@contextlib.contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the function in this process with exactly these settings."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as listener:
        for name in [name for name in os.environ if name.startswith("PROPENSITY_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        listener.bind((HOST, 0))
        app = functions_framework.aio.create_asgi_app(
            "get_proba", str(FOLDER / "main.py")
        )
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield f"http://{HOST}:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def url(module_workplace) -> Iterator[str]:
    """The function, with Ana, Ben and many others published."""
    others = [ANA | {"user_id": f"user.{number}"} for number in range(1_000)]
    publish(module_workplace, [ANA, BEN, *others])
    publish(module_workplace, [ANA | {"probability": 0.5}], use_case="first_day_churn")
    with serving(module_workplace.environment) as address:
        yield address


@pytest.fixture
def served(workplace) -> Iterator[str]:
    """The function on a workplace of its own, with Ana published, and no more."""
    publish(workplace, [ANA])
    with serving(workplace.environment) as address:
        yield address


def post(url: str, body: object, **arguments) -> requests.Response:
    return requests.post(url, json=body, timeout=60, **arguments)


def ask(url: str, **parameters) -> requests.Response:
    return requests.get(url, params=parameters, timeout=60)


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
        """SQL in user_id is the name of a user whom nobody knows; nothing happens."""
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

    def test_takes_the_longest_user_id(self, url):
        """256 characters are a user id, however long their encoding is."""
        assert ask(url, user_id="😀" * 256).status_code == 404

    def test_answers_head_without_body(self, url):
        """HEAD has the status and headers of GET, and nothing after them."""
        got = ask(url, user_id="ana.1")
        answer = requests.head(url, params={"user_id": "ana.1"}, timeout=60)

        assert answer.status_code == 200
        assert answer.headers["content-length"] == got.headers["content-length"]
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
            "predictions": [
                BEN,
                dict.fromkeys(KEYS) | {"user_id": "nobody"},
                ANA,
                BEN,
            ]
        }

    def test_answers_for_the_use_case_in_the_body(self, url):
        """The body may name a use case."""
        body = {"user_ids": ["ana.1"], "use_case": "first_day_churn"}

        assert post(url, body).json()["predictions"] == [ANA | {"probability": 0.5}]

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
            ("", None),
            ("{", None),
            ("null", None),
            ('["ana.1"]', None),
            ("[" * 100_000, None),
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
        ],
    )
    def test_refuses_a_body_it_cannot_read(self, url, body, field):
        """A malformed body is 400 and names its field where it is about one."""
        headers = {"Content-Type": "application/json"}
        answer = requests.post(url, data=body, headers=headers, timeout=60)

        assert answer.status_code == 400
        assert answer.json()["error"] == "bad_request"
        assert answer.json().get("field") == field

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
        taken = requests.post(
            url,
            data=body,
            headers={"Content-Type": "Application/JSON; charset=utf-8"},
            timeout=60,
        )

        assert refused.status_code == 415
        assert refused.json()["field"] == "Content-Type"
        assert taken.status_code == 200


class TestQueries:
    def test_are_limited_and_take_parameters(self, served, workplace):
        """A query may bill so much, carries a label, and holds no value in its text."""
        ask(served, user_id="ana.1")
        [job] = lookups_sent(workplace)

        assert job.maximum_bytes_billed == 1024**3
        assert job.labels == {"application": "propensity"}
        assert [one.name for one in job.query_parameters] == ["use_case", "user_ids"]
        assert "ana.1" not in job.query


class TestFailures:
    def test_without_a_table_say_that_nothing_is_published(self, workplace):
        """Without the table the answer is 424, and does not name it."""
        withdraw(workplace)
        with serving(workplace.environment) as url:
            answer = ask(url, user_id="ana.1")

        assert answer.status_code == 424
        assert answer.json() == {
            "error": "missing_table",
            "message": "no predictions have been published yet",
            "retryable": False,
        }

    def test_of_bigquery_can_be_tried_again(self, workplace):
        """While BigQuery does not answer, the answer is 503, retryable."""
        [nobody_listens] = free_ports(1)
        unreachable = {
            "BIGQUERY_EMULATOR_HOST": f"http://{HOST}:{nobody_listens}",
            "PROPENSITY_LOOKUP_TIMEOUT_S": "1",
        }
        with serving(workplace.environment | unreachable) as url:
            answers = [ask(url, user_id="ana.1"), post(url, {"user_ids": ["ana.1"]})]

        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"] == "unavailable"
            assert answer.json()["retryable"] is True
            assert str(nobody_listens) not in answer.text

    def test_of_the_settings_keep_them_to_the_log(self, workplace, capfd):
        """A misspelt setting stops the function; the caller learns no more of it."""
        misspelt = {"PROPENSITY_LOOKUP_TTL": "300"}
        with serving(workplace.environment | misspelt) as url:
            answer = ask(url, user_id="ana.1")

        assert answer.status_code == 500
        assert answer.json()["error"] == "settings"
        assert "PROPENSITY" not in answer.text
        assert "PROPENSITY_LOOKUP_TTL" in capfd.readouterr().out

    def test_of_a_project_that_is_not_set_name_the_variable(self, workplace, capfd):
        """Nothing of it is secret, and whoever has just started it must know."""
        with serving({**workplace.environment, "GOOGLE_CLOUD_PROJECT": ""}) as url:
            answers = [ask(url, user_id="ana.1"), post(url, {"user_ids": ["ana.1"]})]

        for answer in answers:
            assert answer.status_code == 500
            assert answer.json() == {
                "error": "settings",
                "message": "GOOGLE_CLOUD_PROJECT is not set: the project to run in",
                "retryable": False,
                "field": "GOOGLE_CLOUD_PROJECT",
            }
        assert "GOOGLE_CLOUD_PROJECT" in capfd.readouterr().out

    def test_nobody_foresaw_are_json_too(self, workplace, capfd):
        """What another table's columns hold by accident is 500, its place logged."""
        withdraw(workplace)
        dataset = f"{workplace.project}.{workplace.dataset}"
        with workplace.bigquery.client() as client:
            client.query_and_wait(
                f"CREATE TABLE `{dataset}.ma_predictions_table` AS SELECT "
                "'ga4_purchase' AS use_case, 'ana.1' AS user_id, 0.5 AS probability, "
                "'soon' AS as_of, 1 AS percentile, 0 AS model_version"
            )
        with serving(workplace.environment) as url:
            answer = ask(url, user_id="ana.1")

        assert answer.status_code == 500
        assert answer.json() == {
            "error": "internal",
            "message": "the lookup failed; its log says why",
            "retryable": False,
        }
        logged = capfd.readouterr().out
        assert "propensity/online/lookup.py" in logged
        assert "ana.1" not in logged

    def test_are_logged_by_one_line_without_the_user(self, workplace, capfd):
        """A failed request is one JSON line; nobody is named in any line."""
        publish(workplace, [ANA])
        by_table = {"PROPENSITY_LOOKUP_SOURCE": "bigquery"}
        with serving({**workplace.environment, **by_table}) as url:
            ask(url, user_id="ana.1")
            ask(url, user_id="ana.1")
            ask(url, user_id="secret.7\n")
            post(url, {"user_ids": ["secret.7", "secret.8", ""]})
        output = capfd.readouterr().out
        lines = [json.loads(line) for line in output.splitlines() if line]

        assert "ana.1" not in output
        assert "secret" not in output
        assert [line["outcome"] for line in lines] == [
            "read",
            "bad_request",
            "bad_request",
        ]
        assert [line["severity"] for line in lines] == ["INFO", "WARNING", "WARNING"]
        assert {line["function"] for line in lines} == {"getProba"}
        assert (lines[0]["rows_in"], lines[0]["rows_out"]) == (1, 1)
        for line in lines:
            assert {"message", "use_case", "seconds", "bytes_billed"} <= set(line)


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment that holds this function's requirements only."""
    return venvs.python_of(FOLDER / "requirements.txt", folder=LOCAL / "venvs")


class TestStaged:
    def test_answers_from_its_own_folder_and_environment(
        self, workplace, python, tmp_path
    ):
        """What is deployed needs neither the repository nor anything else installed."""
        publish(workplace, [ANA])
        [port] = free_ports(1)
        process = spawn(
            "get_proba",
            [
                *(str(python), "-m", "functions_framework", "--asgi"),
                *("--source", "main.py", "--target", "get_proba"),
                *("--host", HOST, "--port", str(port)),
            ],
            environment={"PATH": os.environ["PATH"], **workplace.environment},
            folder=stage.stage(FOLDER, tmp_path / "staged"),
            port=port,
            log=tmp_path / "log",
        )
        url = f"http://{HOST}:{port}/"
        try:
            while True:
                try:
                    answer = ask(url, user_id="ana.1")
                    break
                except requests.ConnectionError:
                    assert process.is_running, Path(process.log).read_text()
                    time.sleep(0.05)
            posted = post(url, {"user_ids": ["nobody", "ana.1"]})
        finally:
            stop([process])

        assert answer.json() == ANA
        assert posted.json()["predictions"] == [
            dict.fromkeys(KEYS) | {"user_id": "nobody"},
            ANA,
        ]

    def test_neither_installs_nor_imports_what_is_heavy(self, python, tmp_path):
        """pandas, pyarrow and sklearn are absent; the Storage API is not imported."""
        program = (
            "import importlib.util, json, sys, main; "
            "from propensity.edges import warehouse; "
            "names = ['pandas', 'pyarrow', 'sklearn', 'numpy', "
            "'google.cloud.bigquery_storage', 'google.cloud.bigquery_storage_v1']; "
            "print(json.dumps([name for name in names if name in sys.modules "
            "or importlib.util.find_spec(name)]))"
        )
        done = subprocess.run(
            [str(python), "-c", program],
            cwd=stage.stage(FOLDER, tmp_path / "staged"),
            check=True,
            capture_output=True,
            text=True,
        )

        assert json.loads(done.stdout) == []

    def test_has_an_entry_point_that_tells_the_story(self):
        """main.py has sixty lines at most: everything else is in the package."""
        assert len((FOLDER / "main.py").read_text().splitlines()) <= 60
