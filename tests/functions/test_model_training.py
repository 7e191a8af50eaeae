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

from propensity import usecases
from propensity.gcp.artifacts import sha256
from propensity.gcp.warehouse import Warehouse
from propensity.learning.candidates import encoder_of
from propensity.learning.value import AMOUNT
from propensity.registry.versions import Registry, pickled
from propensity.runs import train
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
        days_ago = {}
        for part, days in card["split"].items():
            days_ago[part] = [(TRAINED - date.fromisoformat(day)).days for day in days]

        # The first version is compared with none.
        unknown = {name for name, value in row.items() if value is None}
        assert unknown == {"compared_version", "alert_threshold", "saved"}
        assert (row["use_case"], row["model_version"]) == ("ga4_purchase", 0)
        assert (row["as_of"], row["users"]) == (TRAINED, 160)
        assert (card["lookback_days"], card["horizon_days"]) == (60, 7)
        # Seven days of outcomes, and three more until they are final.
        assert days_ago == {"train": [31, 24], "calibrate": [17], "holdout": [10]}
        assert card["rows"] == {"train": 320, "calibrate": 160, "holdout": 160}
        assert card["features"] == dict(USE_CASE.features)
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
        """With a number in the place of a user, and amounts of buyers beside them: the
        test set's expected amounts are compared with what users paid."""
        deployment, answer = trained
        data = deployment.read(answer["objects"]["dataset/rows.parquet"])
        stored = pq.read_table(io.BytesIO(data)).to_pylist()
        held = [
            row for row in stored if str(row["as_of"]) in answer["split"]["holdout"]
        ]
        [version] = deployment.versions()

        assert len(stored) == sum(answer["rows"].values()) == 640
        assert {type(row["user_id"]) for row in stored} == {int}
        assert len({row["user_id"] for row in stored}) == 160
        assert b"user.0" not in data
        assert stored[0].keys() >= USE_CASE.features.keys()
        for row in held:
            assert (row[AMOUNT] is not None) == bool(row["label"])
        assert answer["value"] == version["card"]["value"]
        assert answer["value"]["observed"] == sum(row[AMOUNT] or 0 for row in held)


def test_a_training_by_force_is_a_version_of_its_own(champion_deployment):
    """It knows no newer rows than the champion, which has learned from all that are
    held out: there is nothing to compare by, and the champion stays."""
    deployment = champion_deployment
    champion = deployment.registry.champion()
    deployment.run("model_training", TRAINED, force=True)
    _, row = deployment.versions()
    again = deployment.run("model_training", TRAINED)

    assert (row["model_version"], row["promoted"]) == (1, False)
    assert row["compared_version"] == 0
    assert "version 0 has learned from all 160 rows" in row["verdict"]
    assert deployment.registry.champion() == champion
    assert (again["model_version"], again["repeated"]) == (1, True)


def test_a_training_of_a_later_day_goes_live_unless_it_is_worse(champion_deployment):
    """One by a useless preprocessor is kept and stays out; a pinned champion stays
    beside a good one, and the verdict says both."""
    deployment = champion_deployment
    useless = ColumnTransformer([("all", "passthrough", ["refunds"])])
    upload(deployment, useless)
    deployment.run("model_training", TRAINED + 2 * WEEK)
    upload(deployment, encoder_of(USE_CASE.features))
    promote(deployment.registry, 0, pinned=True)
    deployment.run("model_training", TRAINED + 3 * WEEK)
    _, worse, pinned = deployment.versions()
    deployment.registry.unpin(deployment.registry.champion())
    answer = deployment.run("model_training", TRAINED + 4 * WEEK)

    assert (worse["promoted"], worse["compared_version"]) == (False, 0)
    assert worse["verdict"].startswith("worse")
    assert worse["roc_auc"] == 0.5
    assert not pinned["promoted"]
    assert pinned["verdict"].startswith("version 0 is pinned and stays; not worse")
    assert (answer["model_version"], answer["promoted"]) == (3, True)


def test_two_trainings_at_once_give_one_champion(shop_deployment, monkeypatch):
    """Each claims a version; the slower is compared with the quicker. Each promotion is
    a message to whoever listens."""
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
    assert first["promoted"]
    assert (answer["model_version"], second["compared_version"]) == (1, 0)
    assert answer["verdict"] == second["verdict"]
    assert champion.version == int(second["promoted"])
    assert update == {
        "use_case": "ga4_purchase",
        "action": "promote",
        "version": champion.version,
        "pinned": False,
        "epoch": champion.epoch,
        "at": update["at"],
    }


def test_a_promotion_that_nobody_was_told_of_is_told_by_the_next_run(
    shop_deployment, monkeypatch
):
    """Its run was killed in between, so that its record does not say "promoted"."""
    told = list[int]()

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    def tell(*words: object, **_: object) -> None:
        told.append(words[3].version)

    monkeypatch.setattr(train, "announce", killed)
    with pytest.raises(SystemExit):
        shop_deployment.post("model_training", {"as_of": TRAINED})
    [row] = shop_deployment.versions()
    monkeypatch.setattr(train, "announce", tell)
    shop_deployment.run("model_training", LATER)

    assert row["promoted"] is None
    assert told == [0, 1]


def test_a_trial_changes_nothing_but_its_own_report(champion_deployment):
    """No version is claimed or recorded, and no pointer moves; the training of that day
    is not answered by it. Days of the export are digested, as any run would digest
    them. Only a training can be a trial."""
    deployment = champion_deployment

    def objects() -> dict[str, bytes]:
        names = deployment.artifacts.names("")
        kept = [name for name in names if not name.startswith("runs/ga4_export/")]
        return {name: deployment.read(name) for name in kept}

    before = objects()
    versions = deployment.versions()
    answer = deployment.run("model_training", LATER, trial=True)
    after = objects()
    page = deployment.page(answer["objects"]["report.html"])
    trained = deployment.run("model_training", LATER)
    refused = deployment.post("predictions", {"as_of": LATER, "trial": True})

    own = f"runs/ga4_purchase/trial/{LATER}"
    assert after.keys() - before.keys() == {f"{own}.html", f"{own}.json"}
    assert before.items() <= after.items()
    assert deployment.versions()[:-1] == versions
    assert (answer["trial"], answer["promoted"]) == (True, False)
    assert (answer["model_version"], answer["would_go_live"]) == (None, True)
    assert "against version 0 on the same" in answer["verdict"]
    assert "Would go live" in page
    assert (trained["model_version"], trained["repeated"]) == (1, False)
    assert (refused.status_code, refused.json["field"]) == (400, "trial")


def test_a_trial_is_compared_by_its_features(champion_deployment, monkeypatch):
    """Of the day that the live version was trained on, whose training does not answer
    it, and with other features."""
    fewer = {"items": "number", "country": "category", "recency_days": "number"}
    less = structs.replace(USE_CASE, features=fewer)
    monkeypatch.setattr("propensity.usecases.load", lambda _: less)
    answer = champion_deployment.run("model_training", TRAINED, trial=True)

    assert "against version 0 on the same 160 rows" in answer["verdict"]
    assert "trained again on the rows of this trial" in answer["verdict"]


def failed(deployment: Deployment, status: int, error: str, as_of=LATER) -> str:
    """Have a training fail with a clear error, which leaves the champion, and lets the
    next try begin; return the message."""
    before = deployment.registry.champion(), deployment.versions()
    answer = deployment.post("model_training", {"as_of": as_of})
    lease = json.loads(deployment.read(f"runs/ga4_purchase/train/{as_of}.json"))

    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert answer.json["retryable"] is False
    assert (deployment.registry.champion(), deployment.versions()) == before
    assert lease["state"] == "failed"
    return answer.json["message"]


def test_a_training_of_too_few_days_says_how_many_are_needed(champion_deployment):
    """A first snapshot needs a lookback before it: 422 says how many days."""
    early = FIRST + 3 * WEEK
    message = failed(champion_deployment, 422, "not_enough_data", early)

    assert "60 days" in message
    assert str(FIRST) in message


def test_a_training_refuses_several_rows_of_a_user(champion_deployment, monkeypatch):
    """A user would count as often as a join finds something: 409."""
    read = Warehouse.table

    def joined(self, sql, parameters):
        rows = read(self, sql, parameters)
        if sql == USE_CASE.statement("training_rows"):
            rows = pa.concat_tables([rows, rows.slice(3, 2)])
        return rows

    monkeypatch.setattr(Warehouse, "table", joined)
    message = failed(champion_deployment, 409, "schema")

    assert "more than one row for some users (2 extra rows)" in message


def test_a_training_runs_no_preprocessor_that_was_overwritten(
    champion_deployment, tmp_path
):
    """Other bytes than were recorded are not unpickled: no code runs."""
    own = ColumnTransformer([("own", "passthrough", ["items"])])
    name = upload(champion_deployment, own)
    code = pickled(Malicious(tmp_path / "was_here"))
    overwrite(champion_deployment.registry, name, code)
    message = failed(champion_deployment, 500, "artifact")

    assert name in message
    assert not (tmp_path / "was_here").exists()
