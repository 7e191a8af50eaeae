"""
00-ModelTraining, specified: what it records, what it leaves alone, and what a trial is.

What a model learns is asked in ``propensity/learning``, and who wins of several runs in
``propensity/registry``.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs
from sklearn.compose import ColumnTransformer

from local.exports import digest
from propensity import usecases
from propensity.gcp.artifacts import sha256
from propensity.learning.candidates import default_preprocessor
from propensity.learning.value import AMOUNT
from propensity.registry.versions import Registry, pickled
from propensity.runs import setup
from propensity.tables.models import PREPROCESSORS
from tests.propensity.registry.versions import Malicious, overwrite, promote
from tests.support import shops
from tests.support.deployment import Deployment
from tests.support.shop import WEEK
from tests.support.shops import FIRST, LATER, TRAINED

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
    deployment.append(PREPROCESSORS, row)
    return name


@pytest.fixture(scope="module")
def trained(borrow_deployment) -> tuple[Deployment, dict]:
    """A deployment whose first model was trained, and the answer of the training."""
    return borrow_deployment(champion=True), shops.training_answer()


class TestVersion:
    def test_a_version_is_recorded_in_full(self, trained):
        """The row says when, of what, how and how well; what is known is not null. The
        answer says the same."""
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
        assert sum(kind["users"] for kind in card["presence"]) == 160
        assert {candidate["algorithm"] for candidate in card["candidates"]} >= {
            "LogisticRegression",
            "HistGradientBoostingClassifier",
            "VotingClassifier",
        }
        assert row["roc_auc"] > 0.7
        assert (answer["model_version"], answer["repeated"]) == (0, False)
        assert answer["promoted"] is row["promoted"] is True
        assert answer["verdict"] == row["verdict"]
        for name in ("roc_auc", "budget", "precision_at_budget"):
            assert answer["holdout"][name] == row[name]

    def test_a_version_is_stored_with_its_checksums(self, trained):
        """Every file is in the bucket; those that are loaded are as recorded."""
        deployment, answer = trained
        [row] = deployment.versions()
        champion = deployment.registry.champion()
        files = row["card"]["files"]

        assert set(answer["objects"]) == FILES
        assert all(deployment.read(name) for name in answer["objects"].values())
        for file in files.values():
            assert sha256(deployment.read(file["object"])) == file["sha256"]
        for part in ("model", "preprocessor"):
            assert files[part]["object"] == row[f"{part}_object"]
            assert files[part]["sha256"] == row[f"{part}_sha256"]
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

        assert len(stored) == sum(answer["rows"].values()) == 640
        assert snapshot.to_pylist() == expected.to_pylist()
        users = {*again["user_id"].to_pylist()}
        assert not any(user.encode() in data for user in users)
        assert len({*stored["user_id"].to_pylist()}) == len(users)
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


class TestAgain:
    def test_a_training_by_force_is_a_version_of_its_own(self, champion_deployment):
        """It knows no newer rows than the champion, which has learned from all that
        are held out: there is nothing to compare by, and the champion stays. A number
        is not given again, though the newest version's objects were deleted."""
        deployment = champion_deployment
        champion = deployment.registry.champion()
        deployment.warehouse.execute(
            "INSERT INTO ma_model_training_metadata_runs "
            "SELECT * REPLACE (1 AS model_version) FROM ma_model_training_metadata"
        )
        deployment.run("model_training", TRAINED, force=True)
        _, _, row = deployment.versions()
        again = deployment.run("model_training", TRAINED)

        assert len(deployment.versions()) == 3
        assert (row["model_version"], row["promoted"]) == (2, False)
        assert row["compared_version"] == 0
        assert "version 0 has learned from all 160 rows" in row["verdict"]
        assert deployment.registry.champion() == champion
        assert (again["model_version"], again["repeated"]) == (2, True)

    def test_a_training_of_a_later_day_goes_live_unless_it_is_worse(
        self, champion_deployment
    ):
        """One by a useless preprocessor is kept and stays out; a pinned champion stays
        beside a good one, and the verdict says both. With a champion whose file is lost
        nothing can be compared, and whatever scores is better."""
        deployment = champion_deployment
        useless = ColumnTransformer([("all", "passthrough", ["refunds"])])
        upload(deployment, useless)
        deployment.run("model_training", TRAINED + 2 * WEEK)
        upload(deployment, default_preprocessor(USE_CASE))
        promote(deployment.registry, 0, pinned=True)
        deployment.run("model_training", TRAINED + 3 * WEEK)
        _, worse, pinned = deployment.versions()

        assert (worse["promoted"], worse["compared_version"]) == (False, 0)
        assert worse["verdict"].startswith("worse")
        assert worse["roc_auc"] == 0.5
        assert not pinned["promoted"]
        assert pinned["verdict"].startswith("version 0 is pinned and stays; not worse")
        champion = deployment.registry.champion()
        assert champion.version == 0

        deployment.registry.unpin(champion)
        deployment.artifacts.delete("models/ga4_purchase/0/model.joblib")
        answer = deployment.run("model_training", TRAINED + 4 * WEEK)

        assert (answer["model_version"], answer["promoted"]) == (3, True)
        assert "cannot score" in answer["verdict"]


def test_two_trainings_at_once_give_one_champion(shop_deployment, monkeypatch):
    """Each claims a version; the slower is compared with the quicker, and its row and
    answer say how that ended. Each promotion is a message to whoever listens."""
    deployment = shop_deployment.with_settings(
        PROPENSITY_TOPIC_PREFIX=shop_deployment.name
    )
    deployment.create_topic(deployment.topic("model-updates"))
    find = Registry.champion
    quicker = []

    def overtaken(registry):
        champion = find(registry)
        if not quicker:
            quicker.append(0)
            quicker[0] = deployment.run("model_training", TRAINED + WEEK)
        return champion

    monkeypatch.setattr(Registry, "champion", overtaken)
    with deployment.pulled("model-updates") as pull:
        answer = deployment.run("model_training", TRAINED)
        champion = find(deployment.registry)
        *_, message = pull(champion.epoch + 1)
    first, second = deployment.versions()
    update = json.loads(message.data)

    assert quicker[0]["model_version"] == first["model_version"] == 0
    assert (first["promoted"], first["compared_version"]) == (True, None)
    assert (answer["model_version"], second["compared_version"]) == (1, 0)
    assert (answer["promoted"], answer["verdict"]) == (
        second["promoted"],
        second["verdict"],
    )
    live = second if second["promoted"] else first
    assert champion.version == live["model_version"]
    assert champion.model_sha256 == live["model_sha256"]
    assert update == {
        "use_case": "ga4_purchase",
        "action": "promote",
        "version": champion.version,
        "pinned": False,
        "epoch": champion.epoch,
        "at": update["at"],
    }


class TestTrial:
    def test_a_trial_changes_nothing_but_its_own_report(self, champion_deployment):
        """No version is claimed or recorded, and no pointer moves; the training of that
        day is not answered by it. Days of the export are digested, as any run would
        digest them."""
        deployment = champion_deployment

        def objects() -> dict[str, bytes]:
            names = deployment.artifacts.names("")
            kept = [name for name in names if not name.startswith("runs/ga4_export/")]
            return {name: deployment.read(name) for name in kept}

        before = objects()
        versions = deployment.versions()
        answer = deployment.run("model_training", LATER, trial=True)
        after = objects()
        own = f"runs/ga4_purchase/trial/{LATER}"

        assert after.keys() - before.keys() == {f"{own}.html", f"{own}.json"}
        assert before.items() <= after.items()
        assert deployment.versions() == versions
        assert (answer["trial"], answer["promoted"]) == (True, False)
        assert (answer["model_version"], answer["would_go_live"]) == (None, True)
        assert "against version 0 on the same" in answer["verdict"]
        assert "Would go live" in deployment.page(answer["objects"]["report.html"])
        trained = deployment.run("model_training", LATER)
        assert (trained["model_version"], trained["repeated"]) == (1, False)

    def test_a_trial_is_compared_by_its_features(
        self, champion_deployment, monkeypatch
    ):
        """Of the day that the live version was trained on, whose training does not
        answer it, and with other features."""
        fewer = {"items": "number", "country": "category", "recency_days": "number"}
        less = structs.replace(USE_CASE, features=fewer)
        monkeypatch.setattr("propensity.usecases.load", lambda _: less)

        answer = champion_deployment.run("model_training", TRAINED, trial=True)

        assert "against version 0 on the same 160 rows" in answer["verdict"]
        assert "trained again on the rows of this trial" in answer["verdict"]

    @pytest.mark.parametrize(
        ("target", "trial"), [("model_training", "yes"), ("predictions", True)]
    )
    def test_a_trial_is_true_or_false_and_of_a_training(
        self, shop_deployment, target, trial
    ):
        answer = shop_deployment.post(target, {"as_of": TRAINED, "trial": trial})

        assert (answer.status_code, answer.json["field"]) == (400, "trial")


@pytest.fixture(scope="module")
def serving(borrow_deployment) -> Deployment:
    """A deployment with a champion that no failure may touch."""
    return borrow_deployment(champion=True)


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
        warehouse = type(serving.warehouse)
        read = warehouse.table
        most = []

        def changed(self, sql, parameters):
            rows = read(self, sql, parameters)
            if sql != USE_CASE.statement("training_rows"):
                return rows
            most.append(parameters["maximum_rows"])
            return change(rows)

        monkeypatch.setattr(warehouse, "table", changed)
        deployment = serving.with_settings(PROPENSITY_MAXIMUM_TRAINING_ROWS="1234")
        message = self.failed(deployment, 409, "schema")

        assert expected in message
        assert most == [1_234]

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
