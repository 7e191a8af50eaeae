"""
00-ModelTraining, specified on emulators: what it records, and what it leaves alone.
"""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer

from propensity import usecases
from propensity.gcp.artifacts import sha256
from propensity.gcp.warehouse import Warehouse
from propensity.learning.value import AMOUNT
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import FIRST, TRAINED, Place, application, entered
from tests.shop import WEEK
from tests.usecases.ga4_purchase.exports import load_day

USE_CASE = usecases.load("ga4_purchase")
FILES = {
    "model.joblib", "preprocessor.joblib", "dataset/rows.parquet", "card.json",
    "report.html", "value.joblib",
}  # fmt: skip


def metadata(place: Place) -> list[dict]:
    return place.rows("SELECT * FROM ma_model_training_metadata ORDER BY model_version")


def upload(place: Place, preprocessor: object) -> str:
    """Upload a preprocessor as a person does; return its object's name."""
    name, checksum = place.registry.upload_preprocessor(preprocessor)
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
    place.warehouse.write(tables.PREPROCESSORS, [row])
    return name


class TestVersion:
    def test_is_recorded_in_full(self, training):
        """The row says when, of what, how and how well; what is known is not null."""
        place, answer = training
        [row] = metadata(place)
        card = json.loads(row["card"])
        unknown = {name for name, value in row.items() if value is None}

        # The first version is compared with none.
        assert unknown == {"compared_version", "alert_threshold", "saved"}
        assert (row["use_case"], row["model_version"]) == ("ga4_purchase", 0)
        assert (row["as_of"], row["users"]) == (TRAINED, 160)
        assert card["rows"]["train"] == 320
        assert (card["lookback_days"], card["horizon_days"]) == (60, 7)
        assert card["split"] == {
            part: [str(TRAINED - timedelta(days=days)) for days in ago]
            for part, ago in (
                ("train", (31, 24)),
                ("calibrate", (17,)),
                ("holdout", (10,)),
            )
        }
        assert card["rows"]["calibrate"] == 160
        assert card["negative_sampling_rate"] == card["positive_sampling_rate"] == 1
        assert card["features"] == dict(USE_CASE.features)
        assert {candidate["algorithm"] for candidate in card["candidates"]} >= {
            "LogisticRegression",
            "HistGradientBoostingClassifier",
            "VotingClassifier",
        }
        assert row["roc_auc"] > 0.7
        assert row["promoted"] is True
        assert row["verdict"] == answer["verdict"]
        assert row["compared_version"] is None
        assert answer["model_version"] == 0
        assert answer["promoted"] is True
        assert answer["repeated"] is False
        assert answer["holdout"]["roc_auc"] == row["roc_auc"]
        assert row["budget"] == "10%"
        assert answer["holdout"].items() <= {**card["metrics"], "lift": None}.items()
        for name in ("best_threshold", "budget", "precision_at_budget"):
            assert answer["holdout"][name] == row[name]

    def test_is_stored_with_its_checksums_and_serves(self, training):
        """Every file is in the bucket; those that are loaded are as recorded."""
        place, answer = training
        [row] = metadata(place)
        champion = place.registry.champion()
        files = json.loads(row["card"])["files"]
        contents = {
            part: place.registry.artifacts.read(file["object"]).data
            for part, file in files.items()
        }

        assert set(answer["objects"]) == FILES
        for name in answer["objects"].values():
            assert place.registry.artifacts.read(name).data
        for part, data in contents.items():
            assert sha256(data) == files[part]["sha256"]
        for part in ("model", "preprocessor"):
            assert files[part]["object"] == row[f"{part}_object"]
            assert files[part]["sha256"] == row[f"{part}_sha256"]
        assert json.loads(contents["card"])["metrics"]["roc_auc"] == row["roc_auc"]
        assert contents["report"].lstrip().lower().startswith(b"<!doctype html")
        assert (champion.version, champion.epoch, champion.previous) == (0, 0, None)
        assert champion.model_sha256 == row["model_sha256"]

    def test_keeps_the_rows_that_it_was_made_of(self, training):
        """
        The snapshot is the training rows as a query would give them again.

        Amounts of buyers are beside them; test_value.py has these.
        """
        place, answer = training
        data = place.registry.artifacts.read(answer["objects"]["dataset/rows.parquet"])
        stored = pq.read_table(io.BytesIO(data.data))
        days = [day for part in answer["split"].values() for day in part]
        window = USE_CASE.window(place.settings, [*map(date.fromisoformat, days)])
        again = place.warehouse.table(
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


class TestAgain:
    def test_is_answered_from_the_lease(self, training, log_lines):
        """The scheduler's retry of a finished run does not train twice."""
        place, answer = training
        repeated = place.run("model_training", TRAINED)
        [line] = log_lines()

        assert repeated == {**answer, "repeated": True}
        assert len(metadata(place)) == 1
        assert (line["outcome"], line["model_version"]) == ("ok", 0)

    def test_by_force_is_a_version_of_its_own(self, champion_place):
        """A worse one, by a useless preprocessor, is kept and does not serve."""
        champion = champion_place.registry.champion()
        useless = ColumnTransformer([("all", "passthrough", ["refunds"])])
        upload(champion_place, useless)

        champion_place.run("model_training", TRAINED, force=True)
        before, row = metadata(champion_place)
        again = champion_place.run("model_training", TRAINED)

        assert row["model_version"] == 1
        assert row["promoted"] is False
        assert row["verdict"].startswith("worse")
        assert row["compared_version"] == 0
        assert json.loads(row["card"])["verdict"]["roc_auc_difference"] < 0
        assert row["roc_auc"] == 0.5
        assert before["model_version"] == 0
        assert champion_place.registry.champion() == champion
        assert (again["model_version"], again["repeated"]) == (1, True)
        # The uploaded preprocessor itself is fitted as a clone: it stays as it was.
        preprocessor, _ = champion_place.registry.load(row)
        assert preprocessor.transformers == useless.transformers
        assert not hasattr(useless, "transformers_")

    @pytest.mark.long
    def test_is_no_version_whose_objects_were_deleted(self, champion_place):
        """Defect: the newest version's number was given again, beside its record."""
        champion_place.warehouse.execute(
            "INSERT INTO ma_model_training_metadata_runs "
            "SELECT * REPLACE (1 AS model_version) FROM ma_model_training_metadata"
        )
        answer = champion_place.run("model_training", TRAINED, force=True)

        assert answer["model_version"] == 2
        assert [row["model_version"] for row in metadata(champion_place)] == [0, 1, 2]

    def test_of_the_same_day_is_compared_with_what_has_not_seen_it(
        self, champion_place
    ):
        """The champion has learned from the rows held out, so its scores of them are
        too good: what its own training measured is compared."""
        champion_place.run("model_training", TRAINED, force=True)
        before, row = metadata(champion_place)

        card = json.loads(row["card"])
        assert (
            json.loads(before["card"])["trained_until"] == card["split"]["holdout"][0]
        )
        assert row["compared_version"] == 0
        assert card["verdict"]["roc_auc_difference"] == 0
        assert row["promoted"] is True
        assert "has learned from these rows since" in row["verdict"]


class TestConcurrency:
    def test_gives_two_versions_and_one_champion(self, place):
        """Two trainings at once claim a version each; what serves is one of them."""
        barrier, client = threading.Barrier(2), application("model_training")
        find = type(place.registry).champion

        def together(registry):
            champion = find(registry)
            # Both have seen the same champion, none, before either promotes.
            if champion is None:
                barrier.wait(60)
            return champion

        def train(as_of: date):
            with client.test_client() as caller:
                return caller.post("/", json={"as_of": str(as_of)})

        with (
            pytest.MonkeyPatch.context() as patch,
            entered(place.environment),
            ThreadPoolExecutor(2) as pool,
        ):
            patch.setattr(type(place.registry), "champion", together)
            answers = list(pool.map(train, [TRAINED, TRAINED + WEEK]))

        assert [answer.status_code for answer in answers] == [200, 200]
        by_version = {answer.json["model_version"]: answer.json for answer in answers}
        rows = {row["model_version"]: row for row in metadata(place)}
        champion = place.registry.champion()
        assert set(by_version) == set(rows) == {0, 1}
        # The slower was compared with the quicker, and its row says how that ended.
        [quicker] = [row for row in rows.values() if row["compared_version"] is None]
        [slower] = [row for row in rows.values() if row is not quicker]
        assert quicker["promoted"] is True
        assert slower["compared_version"] == quicker["model_version"]
        assert json.loads(slower["card"])["verdict"]["roc_auc_difference"] is not None
        serving = slower if slower["promoted"] else quicker
        assert champion.version == serving["model_version"]
        assert champion.model_sha256 == serving["model_sha256"]
        for version, row in rows.items():
            assert by_version[version]["promoted"] is row["promoted"]
            assert by_version[version]["verdict"] == row["verdict"]


class TestFailures:
    """Each is a clear error, leaves the champion, and lets the next try begin."""

    def failed(self, place: Place, as_of: date = TRAINED, **expected):
        before = place.registry.champion()
        rows = len(metadata(place))
        answer = place.post("model_training", {"as_of": as_of})

        assert answer.json["error"] == expected["error"], answer.text
        assert answer.status_code == expected["status"]
        assert answer.json["retryable"] is False
        assert place.registry.champion() == before
        assert len(metadata(place)) == rows
        name = f"runs/ga4_purchase/train/{as_of}.json"
        lease = json.loads(place.registry.artifacts.read(name).data)
        assert lease["state"] == "failed"
        return answer.json["message"]

    @pytest.mark.parametrize(
        ("constant", "says"),
        [
            ({"minimum_training_rows": 100_000}, "320 rows"),
            pytest.param(
                {"minimum_conversions": 1000},
                "users who buy (label 1)",
                marks=pytest.mark.long,
            ),
        ],
        ids=["rows", "conversions"],
    )
    def test_of_too_little_data(self, serving, constant, says):
        """Too few rows or conversions is 422 with the figures."""
        place = serving.with_constants(**constant)

        assert says in self.failed(place, status=422, error="not_enough_data")

    def test_of_too_few_days(self, serving):
        """A first snapshot needs a lookback before it: 422 says how many days."""
        message = self.failed(
            serving, FIRST + 3 * WEEK, status=422, error="not_enough_data"
        )

        assert "60 days" in message
        assert str(FIRST) in message

    def test_of_what_is_not_there(self, serving):
        """424 names the view that set-up makes."""
        serving.warehouse.execute("DROP VIEW ga_events")
        message = self.failed(serving, status=424, error="missing_table")
        serving.prepare()

        assert "ga_events" in message

    def test_of_a_changed_export(self, serving, workplace):
        """A column that the export no longer has is 409, and named."""
        [(_, rows), *_] = shop.shards(shop.weekly(FIRST, 1, users=3))
        load_day(workplace, FIRST, rows.drop_columns(["geo"]))
        export = f"{serving.settings.project}.{workplace.ga4_dataset}"
        view = usecases.export.text(export)
        serving.warehouse.replace_view("ga_events", view)
        message = self.failed(serving, status=409, error="schema")
        serving.prepare()

        assert "geo" in message

    def test_of_several_rows_of_a_user(self, serving, monkeypatch):
        """A user would count as often as a join finds something: 409."""
        table = Warehouse.table

        def joined(self, sql, parameters):
            rows = table(self, sql, parameters)
            is_training = sql == usecases.load("ga4_purchase").statement(
                "training_rows"
            )
            return pa.concat_tables([rows, rows.slice(3, 2)]) if is_training else rows

        monkeypatch.setattr(Warehouse, "table", joined)
        message = self.failed(serving, status=409, error="schema")

        assert "2 rows to train on are of users who have one" in message

    def test_of_a_preprocessor_for_other_features(self, serving):
        """It is 409, and says which column there is not."""
        upload(serving, ColumnTransformer([("a", "passthrough", ["shoe_size"])]))
        message = self.failed(serving, status=409, error="schema")

        assert "shoe_size" in message


@pytest.fixture(scope="module")
def serving(new_place, with_champion) -> Place:
    """A place with a champion that no failure may touch."""
    return with_champion(new_place())
