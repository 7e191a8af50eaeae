"""
00-ModelTraining, specified on emulators: what it records, and what it leaves alone.
"""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer

from local.exports import digest
from propensity import usecases
from propensity.errors import QueryTooExpensive
from propensity.gcp.artifacts import sha256
from propensity.gcp.warehouse import Warehouse
from propensity.learning.candidates import default_preprocessor
from propensity.learning.value import AMOUNT
from propensity.registry.versions import Registry, pickled
from propensity.runs import setup
from propensity.tables.models import PREPROCESSORS
from tests.functions.conftest import FIRST, LATER, TRAINED
from tests.propensity.registry.versions import Malicious, overwrite, promote
from tests.support.deployment import Deployment, application, entered
from tests.support.shop import DAY, WEEK, paid, purchase

USE_CASE = usecases.load("ga4_purchase")
FILES = {
    "model.joblib", "preprocessor.joblib", "dataset/rows.parquet", "card.json",
    "report.html", "value.joblib",
}  # fmt: skip


def upload(deployment: Deployment, preprocessor: object) -> str:
    """Upload a preprocessor as a person does; return its object."""
    name, checksum = deployment.registry.upload_preprocessor(preprocessor)
    now = datetime.now(UTC)
    row = {
        "use_case": "ga4_purchase",
        "uploaded_on": now.date(),
        "uploaded_at": now,
        "object": name,
        "sha256": checksum,
        "features": json.dumps(dict(USE_CASE.features)),
        "is_default": False,
    }
    deployment.warehouse.write(PREPROCESSORS, [row])
    return name


@pytest.fixture(scope="module")
def trained(borrow_module_deployment, deployments) -> tuple[Deployment, dict]:
    """A deployment whose first model was trained, and the answer of the training."""
    return borrow_module_deployment(champion=True), deployments.first_model.answer


class TestVersion:
    def test_a_version_is_recorded_in_full(self, trained):
        """The row says when, of what, how and how well; what is known is not null."""
        deployment, answer = trained
        [row] = deployment.versions()
        card = row["card"]
        days_ago = {
            part: [(TRAINED - date.fromisoformat(day)).days for day in days]
            for part, days in card["split"].items()
        }

        # The first version is compared with none.
        unknown = {name for name, value in row.items() if value is None}
        assert unknown == {"compared_version", "alert_threshold", "saved"}
        assert (row["use_case"], row["model_version"]) == ("ga4_purchase", 0)
        assert (row["as_of"], row["users"]) == (TRAINED, 160)
        assert (card["lookback_days"], card["horizon_days"]) == (60, 7)
        # Seven days of outcomes, and three more until they are final.
        assert days_ago == {"train": [31, 24], "calibrate": [17], "holdout": [10]}
        assert card["rows"] == {"train": 320, "calibrate": 160, "holdout": 160}
        assert card["negative_sampling_rate"] == card["positive_sampling_rate"] == 1
        assert card["features"] == dict(USE_CASE.features)
        assert "profile" not in card
        assert sum(kind["users"] for kind in card["presence"]) == 160
        assert {candidate["algorithm"] for candidate in card["candidates"]} >= {
            "LogisticRegression",
            "HistGradientBoostingClassifier",
            "VotingClassifier",
        }
        assert row["roc_auc"] > 0.7
        assert row["budget"] == "10%"

    def test_a_version_is_answered_as_it_is_recorded(self, trained):
        """Version, verdict and metrics on the rows held out."""
        deployment, answer = trained
        [row] = deployment.versions()

        assert (answer["model_version"], answer["repeated"]) == (0, False)
        assert answer["promoted"] is row["promoted"] is True
        assert answer["verdict"] == row["verdict"]
        assert (
            answer["holdout"].items()
            <= {**row["card"]["metrics"], "lift": None}.items()
        )
        for name in ("roc_auc", "budget", "precision_at_budget"):
            assert answer["holdout"][name] == row[name]

    def test_a_version_is_stored_with_its_checksums(self, trained):
        """Every file is in the bucket; those that are loaded are as recorded."""
        deployment, answer = trained
        [row] = deployment.versions()
        champion = deployment.registry.champion()
        files = row["card"]["files"]
        contents = {
            part: deployment.read(file["object"]) for part, file in files.items()
        }

        assert set(answer["objects"]) == FILES
        assert all(deployment.read(name) for name in answer["objects"].values())
        for part, data in contents.items():
            assert sha256(data) == files[part]["sha256"]
        for part in ("model", "preprocessor"):
            assert files[part]["object"] == row[f"{part}_object"]
            assert files[part]["sha256"] == row[f"{part}_sha256"]
        assert json.loads(contents["card"])["metrics"]["roc_auc"] == row["roc_auc"]
        assert contents["report"].lstrip().lower().startswith(b"<!doctype html")
        assert (champion.version, champion.epoch, champion.previous) == (0, 0, None)
        assert champion.model_sha256 == row["model_sha256"]

    def test_a_version_keeps_the_rows_that_it_was_made_of(self, trained):
        """As a query would give them again, with a number in the place of a user, and
        amounts of buyers beside them."""
        deployment, answer = trained
        data = deployment.read(answer["objects"]["dataset/rows.parquet"])
        stored = pq.read_table(io.BytesIO(data))
        days = [day for part in answer["split"].values() for day in part]
        window = USE_CASE.window(deployment.settings, [*map(date.fromisoformat, days)])
        digest.fill(
            deployment.warehouse,
            ["purchase", "refund"],
            export=deployment.settings.export,
        )
        again = deployment.warehouse.table(
            USE_CASE.statement("training_rows"), {**window, "maximum_rows": 500_000}
        )
        features = [*{*stored.column_names} - {"user_id", AMOUNT}]
        order = [(name, "ascending") for name in features]
        snapshot, expected = (
            rows.select(features).sort_by(order) for rows in (stored, again)
        )
        users = [len(set(rows["user_id"].to_pylist())) for rows in (stored, again)]

        assert len(stored) == sum(answer["rows"].values()) == 640
        assert snapshot.to_pylist() == expected.to_pylist()
        assert users[0] == users[1]
        assert not any(
            user.encode() in data for user in set(again["user_id"].to_pylist())
        )
        assert pa.types.is_integer(stored.schema.field("user_id").type)

        # The test set's expected amounts are compared with what users paid.
        [version] = deployment.versions()
        held = [
            (row["label"], row[AMOUNT])
            for row in stored.to_pylist()
            if str(row["as_of"]) in answer["split"]["holdout"]
        ]
        assert {paid is not None for label, paid in held if label} == {True}
        assert {paid for label, paid in held if not label} == {None}
        assert answer["value"] == version["card"]["value"]
        assert answer["value"]["observed"] == sum(paid or 0 for _, paid in held)


def test_amounts_are_of_the_horizon(borrow_deployment):
    """A purchase before the as-of date, or after the horizon, does not matter. Of
    several currencies it is US dollars; what a purchase lacks counts as nothing."""
    as_of = TRAINED
    deployment = borrow_deployment(
        [
            paid("u", as_of - DAY, 1_000.0, "USD"),
            paid("u", as_of, 3.0, "USD"),
            paid("u", as_of + 6 * DAY, 4.0, "USD"),
            paid("u", as_of + WEEK, 1_000.0, "USD"),
            paid("v", as_of, 10.0, "USD"),
            paid("v", as_of + DAY, 10.0, "EUR"),
            purchase("w", as_of, None),
        ]
    )
    digest.fill(deployment.warehouse, ["purchase", "refund"])
    window = USE_CASE.window(deployment.settings, [as_of])
    rows = deployment.rows(USE_CASE.statement("converter_amounts"), **window)

    amounts = {row["user_id"]: row["amount"] for row in rows}
    assert amounts == {"u": Decimal(7), "v": Decimal("22.5"), "w": None}


class TestAgain:
    def test_a_training_that_is_repeated_is_answered_from_the_lease(
        self, trained, log_lines
    ):
        """The scheduler's retry of a finished run does not train twice."""
        deployment, answer = trained
        repeated = deployment.run("model_training", TRAINED)
        [line] = log_lines()

        assert repeated == {**answer, "repeated": True}
        assert len(deployment.versions()) == 1
        assert (line["outcome"], line["model_version"]) == ("ok", 0)

    def test_a_training_by_force_is_a_version_of_its_own(self, champion_deployment):
        """It knows no newer rows than the champion, which has learned from all that
        are held out: there is nothing to compare by, and the champion stays. A number
        is not given again, though the newest version's objects were deleted."""
        champion = champion_deployment.registry.champion()
        champion_deployment.warehouse.execute(
            "INSERT INTO ma_model_training_metadata_runs "
            "SELECT * REPLACE (1 AS model_version) FROM ma_model_training_metadata"
        )
        champion_deployment.run("model_training", TRAINED, force=True)
        before, _, row = champion_deployment.versions()
        again = champion_deployment.run("model_training", TRAINED)

        assert before["card"]["trained_until"] == row["card"]["split"]["holdout"][0]
        assert (row["model_version"], row["promoted"]) == (2, False)
        assert row["compared_version"] == 0
        assert (
            "version 0 has learned from all 160 rows of the test set" in row["verdict"]
        )
        assert champion_deployment.registry.champion() == champion
        assert (again["model_version"], again["repeated"]) == (2, True)

    def test_a_training_of_a_later_day_goes_live_unless_it_is_worse(
        self, champion_deployment, log_lines
    ):
        """One by a useless preprocessor is kept and stays out; a pinned champion stays
        beside a good one, and the verdict says both. With a champion whose file is lost
        nothing can be compared, and whatever scores is better."""
        useless = ColumnTransformer([("all", "passthrough", ["refunds"])])
        upload(champion_deployment, useless)
        champion_deployment.run("model_training", TRAINED + 2 * WEEK)
        upload(champion_deployment, default_preprocessor(USE_CASE))
        promote(champion_deployment.registry, 0, pinned=True)
        champion_deployment.run("model_training", TRAINED + 3 * WEEK)
        _, worse, pinned = champion_deployment.versions()

        assert (worse["promoted"], worse["compared_version"]) == (False, 0)
        assert worse["verdict"].startswith("worse")
        assert worse["card"]["verdict"]["roc_auc_difference"] < 0
        assert worse["roc_auc"] == 0.5
        assert not pinned["promoted"]
        assert pinned["verdict"].startswith("version 0 is pinned and stays; not worse")
        champion = champion_deployment.registry.champion()
        assert champion.version == 0

        champion_deployment.registry.unpin(champion)
        champion_deployment.registry.artifacts.delete(
            "models/ga4_purchase/0/model.joblib"
        )
        log_lines()
        answer = champion_deployment.run("model_training", TRAINED + 4 * WEEK)

        assert (answer["model_version"], answer["promoted"]) == (3, True)
        assert "cannot score" in answer["verdict"]
        logged = " ".join(line["message"] for line in log_lines())
        assert "cannot be compared" in logged


def test_two_trainings_at_once_give_one_champion(shop_deployment, monkeypatch):
    """Each claims a version; the slower is compared with the quicker, and its row and
    answer say how that ended. Each promotion is a message to whoever listens."""
    shop_deployment = shop_deployment.with_settings(
        PROPENSITY_TOPIC_PREFIX=shop_deployment.name
    )
    topic = shop_deployment.topic("model-updates")
    shop_deployment.create_topic(topic)
    subscription = shop_deployment.subscribe(topic)
    barrier = threading.Barrier(2)
    client = application("model_training")
    find = Registry.champion

    def together(registry):
        champion = find(registry)
        # Both have seen the same champion, none, before either promotes.
        if champion is None:
            barrier.wait(60)
        return champion

    def train(as_of: date):
        with client.test_client() as caller:
            return caller.post("/", json={"as_of": str(as_of)})

    monkeypatch.setattr(Registry, "champion", together)
    with entered(shop_deployment.environment), ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(train, [TRAINED, TRAINED + WEEK]))
    monkeypatch.undo()
    rows = shop_deployment.versions()
    champion = shop_deployment.registry.champion()
    messages = shop_deployment.pull(subscription, champion.epoch + 1)
    updates = [json.loads(message.data) for message in messages]
    shop_deployment.publisher.transport.close()
    shop_deployment.subscriber.transport.close()

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [row["model_version"] for row in rows] == [0, 1]
    quicker, slower = sorted(rows, key=lambda row: row["compared_version"] is not None)
    assert (quicker["promoted"], quicker["compared_version"]) == (True, None)
    assert slower["compared_version"] == quicker["model_version"]
    assert f"version {quicker['model_version']}" in slower["verdict"]
    serving = slower if slower["promoted"] else quicker
    assert champion.version == serving["model_version"]
    assert champion.model_sha256 == serving["model_sha256"]
    assert updates[-1] == {
        "use_case": "ga4_purchase",
        "action": "promote",
        "version": champion.version,
        "pinned": False,
        "epoch": champion.epoch,
        "at": updates[-1]["at"],
    }
    for answer in (answer.json for answer in answers):
        row = rows[answer["model_version"]]
        assert answer["promoted"] is row["promoted"]
        assert answer["verdict"] == row["verdict"]


@pytest.fixture(scope="module")
def serving(borrow_module_deployment) -> Deployment:
    """A deployment with a champion that no failure may touch."""
    return borrow_module_deployment(champion=True)


class TestFailures:
    """Each is a clear error, leaves the champion, and lets the next try begin."""

    def failed(
        self, deployment: Deployment, status: int, error: str, as_of=LATER
    ) -> str:
        before = deployment.registry.champion(), deployment.versions()
        answer = deployment.post("model_training", {"as_of": as_of})
        lease = json.loads(deployment.read(f"runs/ga4_purchase/train/{as_of}.json"))

        assert (answer.status_code, answer.json["error"]) == (status, error)
        assert answer.json["retryable"] is False
        assert (deployment.registry.champion(), deployment.versions()) == before
        assert lease["state"] == "failed"
        return answer.json["message"]

    def test_a_training_of_too_few_days_says_how_many_are_needed(self, serving):
        """A first snapshot needs a lookback before it: 422 says how many days."""
        message = self.failed(serving, 422, "not_enough_data", FIRST + 3 * WEEK)

        assert "60 days" in message
        assert str(FIRST) in message

    def test_a_training_without_its_view_names_it(self, serving):
        """424 names the view that set-up makes."""
        serving.warehouse.execute("DROP VIEW ga_events")
        message = self.failed(serving, 424, "missing_table")
        setup.prepare_export(serving.warehouse, serving.settings)

        assert "ga_events" in message

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                lambda rows: pa.concat_tables([rows, rows.slice(3, 2)]),
                "more than one row for some users (2 extra rows)",
            ),
            (
                lambda rows: rows.drop_columns("country"),
                "features.sql does not return country",
            ),
        ],
        ids=["joined", "lacking"],
    )
    def test_a_training_refuses_other_rows_than_declared(
        self, serving, monkeypatch, change, expected
    ):
        """A user would count as often as a join finds something; a feature may be
        missing: 409. The statement reads so many rows at most as are set."""
        read = Warehouse.table
        most = []

        def changed(self, sql, parameters):
            rows = read(self, sql, parameters)
            if sql != USE_CASE.statement("training_rows"):
                return rows
            most.append(parameters["maximum_rows"])
            return change(rows)

        monkeypatch.setattr(Warehouse, "table", changed)
        deployment = serving.with_settings(PROPENSITY_MAXIMUM_TRAINING_ROWS="1234")
        message = self.failed(deployment, 409, "schema")

        assert expected in message
        assert most == [1_234]

    def test_a_training_over_the_limit_of_a_statement_reads_its_dates_apart(
        self, serving, trained, monkeypatch
    ):
        """As BigQuery refuses it, while they read less than twice as much. The model is
        the same.

        Defect: the first training of a shop with 70 million events a day failed.
        """
        read = Warehouse.table
        read_dates = []

        def limited(self, sql, parameters):
            if sql == USE_CASE.statement("training_rows"):
                if len(parameters["as_ofs"]) > 2:
                    raise QueryTooExpensive("too many bytes")
                read_dates.append(len(parameters["as_ofs"]))
            return read(self, sql, parameters)

        def size(_self, _sql, parameters):
            at_most = serving.settings.maximum_bytes_billed
            return len(parameters["as_ofs"]) * at_most // 2

        monkeypatch.setattr(Warehouse, "table", limited)
        monkeypatch.setattr(Warehouse, "dry_run", size)
        answer = serving.post("model_training", {"as_of": TRAINED, "trial": True})

        assert answer.status_code == 200, answer.json
        assert read_dates == [2, 2]
        assert answer.json["rows"] == trained[1]["rows"]
        assert answer.json["holdout"] == trained[1]["holdout"]

    def test_a_training_names_the_column_that_the_export_lacks(self, serving):
        """409 names it, and who says which others are missing."""
        view = serving.warehouse.view_text("ga_events")
        lacking = f"SELECT * EXCEPT (country) FROM ({view})"
        serving.warehouse.replace_view("ga_events", lacking)
        serving.warehouse.execute("DELETE FROM ga_digested_days WHERE TRUE")
        message = self.failed(serving, 409, "schema")
        serving.warehouse.replace_view("ga_events", view)

        assert "country" in message
        assert "propensity doctor" in message

    def test_a_training_refuses_a_preprocessor_of_other_features(self, serving):
        """Those it was uploaded for are no longer the use case's: 409 names one."""
        upload(serving, ColumnTransformer([("all", "passthrough", ["visits_of_old"])]))
        message = self.failed(serving, 409, "schema")

        assert "visits_of_old" in message

    def test_a_training_runs_no_preprocessor_that_was_overwritten(
        self, serving, tmp_path
    ):
        """Other bytes than were recorded are not unpickled: no code runs."""
        name = upload(serving, ColumnTransformer([("own", "passthrough", ["items"])]))
        code = pickled(Malicious(tmp_path / "was_here"))
        overwrite(serving.registry, name, code)
        message = self.failed(serving, 500, "artifact")

        assert name in message
        assert not (tmp_path / "was_here").exists()
