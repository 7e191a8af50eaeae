"""02-GetProba that cannot answer, specified, and as it is staged."""

from __future__ import annotations

import json

import pytest

from deploy import stage
from local import venvs
from local.processes import HOST, free_ports
from local.stack.state import LOCAL
from propensity import tables
from tests.functions.instances import Instance
from tests.functions.looked_up import ANA, FOLDER, KEYS, ask, post, publish, serving
from tests.programs import execute


def withdraw(workplace) -> None:
    """Drop the table, if it is there."""
    with workplace.bigquery.client() as client:
        client.delete_table(
            f"{workplace.project}.{workplace.dataset}.{tables.PREDICTIONS.name}",
            not_found_ok=True,
        )


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
            "PROPENSITY_DEADLINE_S": "1",
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
        """The variable is no secret, and whoever has just started the function must
        know it."""
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
                "'soon' AS as_of, 1 AS percentile, 0 AS model_version, "
                "NULL AS expected_value"
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
        by_table = {"PROPENSITY_BUCKET": ""}
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
            assert {"message", "seconds"} <= set(line)
        assert {"use_case", "bytes_billed"} <= set(lines[0])


class TestStaged:
    def test_answers_from_its_own_folder_and_environment(self, workplace, tmp_path):
        """What is deployed needs neither the repository nor anything else installed."""
        publish(workplace, [ANA])
        with Instance("get_proba", workplace.environment, tmp_path) as instance:
            answer = ask(instance.url, user_id="ana.1")
            posted = post(instance.url, {"user_ids": ["nobody", "ana.1"]})

        assert answer.json() == ANA
        assert posted.json()["predictions"] == [
            dict.fromkeys(KEYS) | {"user_id": "nobody"},
            ANA,
        ]

    @pytest.mark.installs
    def test_neither_installs_nor_imports_what_is_heavy(self, tmp_path):
        """pandas, pyarrow and sklearn are absent; the Storage API is not imported."""
        program = (
            "import importlib.util, json, sys, main; "
            "from propensity.gcp import warehouse; "
            "names = ['pandas', 'pyarrow', 'sklearn', 'numpy', "
            "'google.cloud.bigquery_storage', 'google.cloud.bigquery_storage_v1']; "
            "print(json.dumps([name for name in names if name in sys.modules "
            "or importlib.util.find_spec(name)]))"
        )
        staged = stage.stage(FOLDER, tmp_path / "staged")
        python = venvs.python_of(FOLDER / "requirements.txt", folder=LOCAL / "venvs")
        process = execute([python, "-c", program], cwd=staged)

        assert json.loads(process.stdout) == []
