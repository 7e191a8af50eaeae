"""
01-Predictions with PROPENSITY_SCORE_WITH=bigquery: the same table, computed elsewhere.

The emulator's ML.PREDICT runs the graph by ONNX Runtime, as BigQuery does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from local.stack.state import ROOT
from offline import scoring_sql
from offline.promote import Deployment
from propensity import usecases
from propensity.errors import RequestError
from propensity.graphs import sql
from propensity.learning import season
from propensity.statements import statement
from tests.functions.conftest import TRAINED, Place
from tests.functions.test_suppression import KEY, suppress
from tests.propensity.registry.versions import overwrite

pytestmark = pytest.mark.runs

USE_CASE = usecases.load("ga4_purchase")
IN_BIGQUERY = {"PROPENSITY_SCORE_WITH": "bigquery"}
PAGE = ROOT / "docs" / "bigquery.md"


def scores(place: Place) -> dict[str, tuple[float, int]]:
    """Probability and percentile of the current table by user."""
    rows = place.rows("SELECT * FROM ma_predictions_table")
    return {row["user_id"]: (row["probability"], row["percentile"]) for row in rows}


def metadata(place: Place) -> dict:
    [row] = place.rows("SELECT * FROM ma_model_training_metadata")
    return row


def model_of(place: Place) -> str:
    """The name of the imported model of version 0."""
    return sql.model_name(USE_CASE.name, 0, checksum=metadata(place)["onnx_sha256"])


@pytest.fixture(scope="module")
def both(new_place, with_champion) -> tuple[Place, dict, dict]:
    """A place where the function scored, then BigQuery: the scores of each."""
    place = with_champion(new_place())
    place.run("predictions", TRAINED)
    by_function = scores(place)
    within = place.with_settings(**IN_BIGQUERY)
    within.run("predictions", TRAINED)
    return within, by_function, scores(within)


class TestScores:
    def test_are_those_of_the_function(self, both):
        """For every user, no further than 1e-10, with the same percentile."""
        _, by_function, by_bigquery = both

        assert by_bigquery.keys() == by_function.keys()
        assert len(by_bigquery) == 160
        for user, (probability, percentile) in by_function.items():
            assert by_bigquery[user][0] == pytest.approx(probability, abs=1e-10)
            assert by_bigquery[user][1] == percentile

    def test_log_says_where_and_the_model_is_imported_once(self, both, log_lines):
        """A second run finds the model of the version."""
        place, _, _ = both
        place.run("predictions", TRAINED)
        [line] = log_lines()

        assert line["scored_with"] == "bigquery"
        assert "model_imported" not in line
        assert place.warehouse.has_model(model_of(place))

    def test_follow_the_season(self, both):
        """The statement shifts log-odds as the function does."""
        place, _, by_bigquery = both
        key = {"run_id": "shifted", "staged_on": TRAINED}
        text = sql.scoring_statement(
            statement("score_by_model"),
            model=model_of(place),
            features=USE_CASE.features,
            flags=frozenset(),
            rows=USE_CASE.statement("features"),
        )
        shift = {"is_shifted": True, "log_odds_shift": -0.7}
        place.warehouse.execute(
            text, {**USE_CASE.window(place.settings, [TRAINED]), **key, **shift}
        )
        rows = place.rows(
            "SELECT * FROM ma_predictions_staging WHERE run_id = 'shifted'"
        )
        shifted = {row["user_id"]: row["probability"] for row in rows}
        users = [*shifted]
        unshifted = np.array([by_bigquery[user][0] for user in users])

        assert len(users) == 160
        assert [shifted[user] for user in users] == pytest.approx(
            season.apply(unshifted, -0.7).tolist(), abs=1e-12
        )

    @pytest.mark.long
    def test_without_suppressed_users(self, both, champion_place):
        """BigQuery cannot know them: they are taken out before the publication."""
        place = champion_place.with_settings(
            **IN_BIGQUERY, PROPENSITY_SUPPRESSION_KEY=KEY
        )
        suppress(place, "user.003")
        answer = place.run("predictions", TRAINED)

        assert answer["users"] == 159
        assert "user.003" not in scores(place)


class TestGuards:
    def test_a_graph_with_other_bytes_is_not_imported(self, champion_place):
        """Write access to the bucket is not enough to change what is computed."""
        place = champion_place.with_settings(**IN_BIGQUERY)
        overwrite(place.registry, metadata(place)["onnx_object"], b"other bytes")
        answer = place.post("predictions", {"as_of": TRAINED})

        assert answer.status_code == 500
        assert answer.json["error"] == "artifact"
        assert "model.onnx" in answer.json["message"]
        assert not place.warehouse.has_model(model_of(place))
        assert scores(place) == {}

    def test_a_version_without_a_graph_is_scored_by_the_function(
        self, champion_place, log_lines
    ):
        """And a warning says why."""
        place = champion_place.with_settings(**IN_BIGQUERY)
        place.warehouse.execute(
            "UPDATE ma_model_training_metadata SET onnx_object = NULL, "
            "onnx_note = 'no graph: of the test' WHERE TRUE"
        )
        answer = place.run("predictions", TRAINED)
        warning, line = log_lines()

        assert answer["users"] == 160
        assert "no graph: of the test" in warning["message"]
        assert line["scored_with"] == "function"


class TestAnalyst:
    def test_the_statement_of_the_page_scores_a_table(self, both):
        """As it is printed, but for the names of the model and the table."""
        place, by_function, _ = both
        place.warehouse.execute(
            f"CREATE TABLE visitors AS {USE_CASE.statement('features')}",
            USE_CASE.window(place.settings, [TRAINED]),
        )
        [statement] = re.findall(
            r"```sql\n(SELECT\n  user_id,\n  probability\n.*?)```",
            PAGE.read_text("utf-8"),
            re.DOTALL,
        )
        text = re.sub(
            r"`[\w.]*model_ga4_purchase_\w+`", f"`{model_of(place)}`", statement
        )
        text = re.sub(r"`[\w.]*visitors`", "`visitors`", text)
        probabilities = {row["user_id"]: row["probability"] for row in place.rows(text)}

        assert probabilities == pytest.approx(
            {user: probability for user, (probability, _) in by_function.items()},
            abs=1e-10,
        )


# Runs the function's code as BigQuery does, away from this project's folder.
RUNNER = """
import os, sys
import pyarrow as pa
code, rows, out = sys.argv[1:]
names = {}
exec(compile(open(code).read(), code, "exec"), names)
with pa.ipc.open_file(rows) as reader:
    batches = [reader.get_batch(place) for place in range(reader.num_record_batches)]
scores = [names["score"](batch) for batch in batches]
table = pa.table({"probability": pa.chunked_array(scores)})
with pa.OSFile(out, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
    writer.write_table(table)
import propensity
assert ".zip" in propensity.__file__, propensity.__file__
"""


def deployment_of(place: Place) -> Deployment:
    """Return a place's clients, as a command has them."""
    return Deployment(
        settings=place.settings,
        warehouse=place.warehouse,
        artifacts=place.registry.artifacts,
        use_case=USE_CASE,
    )


class TestCommand:
    def test_prints_statements_that_run(self, both):
        """The import finds the model; the other scores, with the project's names."""
        place, by_function, _ = both
        source = f"{place.workplace.dataset}.source"
        place.warehouse.execute(
            f"CREATE OR REPLACE TABLE source AS {USE_CASE.statement('features')}",
            USE_CASE.window(place.settings, [TRAINED]),
        )
        statements = scoring_sql.run(
            deployment_of(place), version=None, source=source, connection=None
        )
        place.warehouse.execute(statements.once)
        rows = {
            row["user_id"]: row["probability"] for row in place.rows(statements.score)
        }

        assert (
            f"`{place.workplace.project}.{place.workplace.dataset}." in statements.once
        )
        assert rows == pytest.approx(
            {user: probability for user, (probability, _) in by_function.items()},
            abs=1e-10,
        )

    def test_a_python_function_scores_with_the_same_code(self, both, tmp_path):
        """Its DDL and call are parsed, and its code runs on Arrow batches, from a
        bundle and without this project."""
        place, by_function, _ = both
        statements = scoring_sql.run(
            deployment_of(place), version=0, source="d.t", connection="us.reads-bucket"
        )
        # sqlglot knows Python functions, and connections of other statements only.
        created = sqlglot.parse_one(
            statements.once.replace("WITH CONNECTION `us.reads-bucket`\n", ""),
            dialect="bigquery",
        )
        call = sqlglot.parse_one(statements.score, dialect="bigquery")
        code = re.search(r'AS r"""(.*)"""', statements.once, re.DOTALL)[1]
        table = place.warehouse.table(
            USE_CASE.statement("features"), USE_CASE.window(place.settings, [TRAINED])
        )
        arguments = [
            table[name].cast(pa.float64() if kind == "number" else pa.string())
            for name, kind in USE_CASE.features.items()
        ]
        rows = pa.table(arguments, names=[f"_{n}" for n in range(len(arguments))])
        with (
            pa.OSFile(str(tmp_path / "rows"), "wb") as file,
            pa.ipc.new_file(file, rows.schema) as writer,
        ):
            writer.write_table(rows, max_chunksize=50)
        (tmp_path / "code.py").write_text(code)
        (tmp_path / "runner.py").write_text(RUNNER)
        subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-P",
                "runner.py",
                "code.py",
                "rows",
                "out",
            ],
            cwd=tmp_path,
            env={**os.environ, **place.environment, "PYTHONPATH": ""},
            check=True,
        )
        with pa.ipc.open_file(str(tmp_path / "out")) as reader:
            scored = reader.read_all()["probability"].to_pylist()

        assert isinstance(created, exp.Create)
        assert created.args["kind"] == "FUNCTION"
        assert isinstance(call, exp.Select)
        assert "scikit-learn==" in statements.once
        assert dict(zip(table["user_id"].to_pylist(), scored, strict=True)) == {
            user: pytest.approx(probability, abs=1e-12)
            for user, (probability, _) in by_function.items()
        }

    def test_says_that_a_version_has_no_graph(self, champion_place):
        champion_place.warehouse.execute(
            "UPDATE ma_model_training_metadata SET onnx_object = NULL, "
            "onnx_note = 'no graph: of the test' WHERE TRUE"
        )
        deployment = deployment_of(champion_place)

        with pytest.raises(RequestError, match="of the test"):
            scoring_sql.run(deployment, version=0, source="t", connection=None)
