"""
``propensity reproduce``, specified with the function that publishes.

What was published can be computed again to the last bit, whatever became of the export.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from commands.cli import main
from offline import promote
from offline.reproduce import Audit, Reproduction
from propensity import usecases
from propensity.edges.artifacts import Artifacts
from propensity.errors import ArtifactError, RequestError
from propensity.registry import feature_sets
from propensity.registry.loading import loaded_as_trained
from propensity.registry.versions import Registry
from tests import scored_cards
from tests.functions.conftest import LATER, TRAINED, Place, entered
from tests.functions.test_suppression import KEY, suppress
from tests.functions.test_value import COLUMNS, without_amounts
from tests.offline.forgotten import users_in
from tests.propensity.registry.versions import overwrite
from tests.shop import Row, load

USE_CASE = usecases.load("ga4_purchase")
USERS = 160
# One of so many is computed again where not all have to be.
SOME = 12


def altered(rows: list[Row]) -> list[Row]:
    """An export that was rewritten: events are gone, others have other values."""
    left = []
    for number, row in enumerate(rows):
        if number % 3 == 0:
            continue
        made = dict(row, event_timestamp=row["event_timestamp"] - 3_600_000_000)
        made["device"] = {"category": "tablet", "operating_system": "rewritten"}
        left.append(made)
    return left


def history(place: Place, as_of: date = LATER) -> dict[str, dict[str, Any]]:
    """The publication, by user."""
    rows = place.rows(
        "SELECT * FROM ma_predictions_history WHERE as_of = @day", day=as_of
    )
    return {row["user_id"]: row for row in rows}


def reproduced(place: Place, *users: str, as_of: date = LATER) -> list[Reproduction]:
    """Probabilities that are computed again, as the command does it."""
    with entered(place.environment), promote.opened("ga4_purchase") as deployment:
        audit = Audit(deployment)
        return [audit.reproduce(user, as_of) for user in users]


def printed(place: Place, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code and output of the command."""
    capsys.readouterr()
    with entered(place.environment):
        code = main(["reproduce", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture(scope="module")
def published(new_export, shop_rows, make_place, enthrone) -> Place:
    """A publication in five parts, whose export was rewritten afterwards."""
    export = new_export(shop_rows)
    place = enthrone(make_place(export.ga4_dataset))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_sets, "PART_ROWS", 37)
        place.run("predictions", LATER)
    load(export, altered(shop_rows))
    return place


@pytest.fixture(scope="module")
def before(new_place) -> dict[str, dict[str, Any]]:
    """Features of the export as it was, by user."""
    return features_of(new_place())


def features_of(place: Place) -> dict[str, dict[str, Any]]:
    table = place.warehouse.table(
        USE_CASE.statement("features"), USE_CASE.window(place.settings, [LATER])
    )
    return {row["user_id"]: row for row in table.to_pylist()}


@pytest.fixture
def own(enthroned) -> Place:
    """A publication for one test alone."""
    enthroned.run("predictions", LATER)
    return enthroned


class TestProbabilities:
    @pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.long)])
    def test_of_all_users_are_the_same_to_the_last_bit(self, published, before, every):
        """After the export was rewritten: another run would give most users other
        features, and yet each published probability is computed again."""
        rows, now = history(published), features_of(published)
        changed = [user for user in rows if now.get(user) != before[user]]
        results = reproduced(published, *[*rows][::every])

        assert len(rows) == USERS
        assert len(changed) > USERS / 2
        for result in results:
            row = rows[result.user_id]
            assert result.published == row["probability"]
            assert result.is_identical, result.difference
            assert result.worth.published == {name: row[name] for name in COLUMNS}
            assert result.worth.computed == result.worth.published
            assert result.features == {
                name: before[result.user_id][name] for name in USE_CASE.features
            }
        assert len({result.source for result in results}) == 5
        assert {result.model_version for result in results} == {0}

    @pytest.mark.long
    def test_are_the_same_after_others_were_forgotten(self, own):
        """Their rows are blank, and nobody's place has changed."""
        place, rows = own, history(own)
        gone, *others = rows
        with entered(place.environment):
            code = main(["forget", gone, "--no-suppression"])
        results = reproduced(place, *others[::SOME])

        assert code == 0
        assert len(others) == USERS - 1
        assert all(result.is_identical for result in results)
        assert kept_users(place) == {*others, None}
        # Where the history of the user was left, the features are not there any more.
        put_back(place, rows[gone])
        with pytest.raises(RequestError, match="have been forgotten"):
            reproduced(place, gone)


def kept_users(place: Place) -> set[str | None]:
    """The users whose features there are, None for one who was forgotten."""
    artifacts = place.registry.artifacts
    return {
        user
        for name in artifacts.names("features/")
        if name.endswith(".parquet")
        for user in users_in(artifacts.read(name).data)
    }


def put_back(place: Place, row: dict[str, Any]) -> None:
    """Write a row of the history again."""
    row = {name: value for name, value in row.items() if value is not None}
    columns = ", ".join(row)
    values = ", ".join(f"@{name}" for name in row)
    place.warehouse.execute(
        f"INSERT INTO ma_predictions_history ({columns}) VALUES ({values})", row
    )


class TestValues:
    def test_are_shown_with_their_interval(self, published, capsys):
        """Beside the probability, to a person and to a program."""
        row = history(published)["user.001"]
        user = ("user.001", str(LATER))
        _, out, _ = printed(published, capsys, *user)
        _, as_json, _ = printed(published, capsys, *user, "--json")
        value, low, high = (f"{row[name]:.9f}" for name in COLUMNS)

        assert f"value      {value} ({low} to {high}) published" in out
        assert f"{value} ({low} to {high}) computed  equal to the last decimal" in out
        worth = json.loads(as_json)["worth"]
        assert worth["computed"] == {name: float(row[name]) for name in COLUMNS}
        assert worth["published"] == worth["computed"]
        assert worth["is_identical"] is True

    def test_follow_the_season(self, own):
        """With the shift that the probabilities have: amounts follow it, too."""
        rows = history(own)
        own.warehouse.execute(
            "UPDATE ma_predictions_history SET log_odds_shift = 0.5 WHERE as_of = @day",
            {"day": LATER},
        )
        [result] = reproduced(own, "user.001")
        row = rows["user.001"]

        grown = result.computed / row["probability"]
        worth = float(result.worth.computed["expected_value"] / row["expected_value"])
        assert grown > 1.1
        assert worth > grown * 1.001

    @pytest.mark.parametrize(
        ("more", "code", "said"),
        [
            ("0.01", 1, "computed  differs"),
            pytest.param(
                *("0.000000001", 0, "equal but for the last digits"),
                marks=pytest.mark.long,
            ),
        ],
    )
    def test_that_differ_are_noticed(self, own, capsys, more, code, said):
        """Where one was altered in the table; the last decimal is forgiven."""
        own.warehouse.execute(
            "UPDATE ma_predictions_history "
            f"SET expected_value = expected_value + NUMERIC '{more}' "
            "WHERE as_of = @day AND user_id = 'user.001'",
            {"day": LATER},
        )
        found, out, _ = printed(own, capsys, "user.001", str(LATER))

        assert found == code
        assert said in out
        assert "equal to the last bit" in out

    def test_of_a_version_without_amounts_are_none(self, place, first_model, capsys):
        """And it is said, since others of the use case have some."""
        without_amounts(first_model).put_into(place)
        place.run("predictions", LATER)
        code, out, _ = printed(place, capsys, "user.001", str(LATER))

        assert code == 0
        assert "The version has no model of amounts" in out
        assert "published\n" not in out

    @pytest.mark.long
    def test_that_were_not_published_are_none(self, own, capsys):
        """Of a version that an older 01-Predictions has served."""
        own.warehouse.execute(
            "UPDATE ma_predictions_history SET expected_value = NULL, "
            "expected_value_low = NULL, expected_value_high = NULL WHERE as_of = @day",
            {"day": LATER},
        )
        code, out, _ = printed(own, capsys, "user.001", str(LATER))

        assert code == 0
        assert "No expected value was published of this user." in out


class TestCommand:
    def test_shows_the_row_and_both_probabilities(self, published, capsys):
        """For a person: features as scored, version, where they are kept."""
        row = history(published)["user.001"]
        code, out, _ = printed(published, capsys, "user.001", str(LATER))

        assert code == 0
        assert f"published  {row['probability']!r}" in out
        assert f"computed   {row['probability']!r}  equal to the last bit" in out
        assert "version 0" in out
        assert f"/features/ga4_purchase/as_of={LATER}/" in out
        assert all(f"  {name} " in out for name in USE_CASE.features)

    def test_says_it_to_a_program_as_well(self, published, capsys):
        """All of it, as JSON."""
        row = history(published)["user.001"]
        code, out, _ = printed(published, capsys, "user.001", str(LATER), "--json")
        told = json.loads(out)

        assert code == 0
        assert told["published"] == told["computed"] == row["probability"]
        assert told["is_identical"] is told["is_reproduced"] is True
        assert told["difference"] == 0
        assert set(told["features"]) == set(USE_CASE.features)
        assert (told["user_id"], told["as_of"]) == ("user.001", str(LATER))

    @pytest.mark.parametrize(
        ("user", "day", "message"),
        [
            ("nobody", LATER, "no probability of this user"),
            ("user.001", TRAINED, "published nothing as of 2026-04-20; nor anything"),
            ("user.001", LATER + timedelta(days=1), f"the newest before is {LATER}"),
        ],
    )
    def test_says_that_there_is_none(self, published, capsys, user, day, message):
        """No such user then, or no publication of that date."""
        code, _, err = printed(published, capsys, user, str(day))

        assert code == 1
        assert message in err

    def test_says_that_a_date_is_none(self, published, capsys):
        """The command line is wrong: nothing is read."""
        code, _, err = printed(published, capsys, "user.001", "yesterday")

        assert code == 2
        assert "no date as YYYY-MM-DD" in err


class TestDifferences:
    def test_fail(self, own, capsys):
        """A probability that was altered in the table is noticed."""
        own.warehouse.execute(
            "UPDATE ma_predictions_history SET probability = probability + 0.001 "
            "WHERE as_of = @day AND user_id = 'user.001'",
            {"day": LATER},
        )
        code, out, _ = printed(own, capsys, "user.001", str(LATER))

        assert code == 1
        assert "differs by -0.001" in out

    @pytest.mark.long
    def test_of_the_last_digits_are_said_and_forgiven(self, own, capsys):
        """Another processor may add floats in another order."""
        own.warehouse.execute(
            "UPDATE ma_predictions_history SET probability = probability + 1e-15 "
            "WHERE as_of = @day AND user_id = 'user.001'",
            {"day": LATER},
        )
        code, out, _ = printed(own, capsys, "user.001", str(LATER))

        assert code == 0
        assert "equal but for the last digits" in out

    @pytest.mark.long
    def test_of_libraries_are_named(self, own):
        """What the scores depend on may have changed since."""
        [name] = [
            one
            for one in own.registry.artifacts.names("features/")
            if one.endswith("manifest.json")
        ]
        manifest = json.loads(own.registry.artifacts.read(name).data)
        manifest["libraries"]["numpy"] = "1.0.0"
        overwrite(own.registry, name, json.dumps(manifest).encode())
        [result] = reproduced(own, "user.001")

        assert result.is_identical
        assert "numpy 1.0.0 (here " in str(result)

    @pytest.mark.long
    def test_of_features_are_refused(self, own):
        """A part of other bytes than the manifest says is not scored."""
        [name] = [
            one
            for one in own.registry.artifacts.names("features/")
            if one.endswith(".parquet")
        ]
        data = own.registry.artifacts.read(name).data
        overwrite(own.registry, name, data + b" ")

        with pytest.raises(ArtifactError, match="not what was recorded"):
            reproduced(own, "user.001")

    @pytest.mark.parametrize(
        "part", ["model", pytest.param("preprocessor", marks=pytest.mark.long)]
    )
    def test_of_the_model_are_refused(self, own, part):
        """Its bytes are verified before they are unpickled."""
        name = f"models/ga4_purchase/0/{part}.joblib"
        overwrite(own.registry, name, b"another model")

        with pytest.raises(ArtifactError, match="not what was recorded"):
            reproduced(own, "user.001")

    @pytest.mark.long
    def test_of_the_rows_are_refused(self, own):
        """A history that names another user's row is not of this set."""
        own.warehouse.execute(
            "UPDATE ma_predictions_history SET feature_row = feature_row + 1 "
            "WHERE as_of = @day AND user_id = 'user.001' AND feature_row < 159",
            {"day": LATER},
        )

        with pytest.raises(ArtifactError, match="another user"):
            reproduced(own, "user.001")


class TestKeeping:
    @pytest.mark.long
    def test_is_of_the_newest_run_of_a_date(self, own):
        """A date that is published again has one set, and its users are reproduced
        from it."""
        [first] = folders(own)
        own.run("predictions", LATER)
        [second] = folders(own)

        assert first != second
        assert all(one.is_identical for one in reproduced(own, *history(own)))

    def test_ends_by_the_setting(self, own):
        """Sets of earlier runs go with the next publication, and the reason is said."""
        own.run("predictions", TRAINED)
        assert len(folders(own)) == 2
        age(own, LATER)
        own.run("predictions", TRAINED)

        assert [f"as_of={TRAINED}" in one for one in folders(own)] == [True]
        with pytest.raises(RequestError, match="have been deleted.* which is 90 here"):
            reproduced(own, "user.001")

    def test_leaves_out_suppressed_users(self, enthroned):
        """Nothing of them is written, and all others are there."""
        place = enthroned.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
        suppress(place, "user.002")
        place.run("predictions", LATER)

        assert kept_users(place) == {*history(place)}
        assert "user.002" not in kept_users(place)
        assert len(kept_users(place)) == USERS - 1
        some = [*history(place)][::SOME]
        assert all(one.is_identical for one in reproduced(place, *some))

    @pytest.mark.long
    def test_can_be_off(self, own):
        """0 days: nothing is written, what is there goes, and the reason is said."""
        off = own.with_settings(PROPENSITY_FEATURE_RETENTION_DAYS="0")
        off.run("predictions", TRAINED)

        assert folders(own) == []
        assert {row["feature_row"] for row in history(own, TRAINED).values()} == {None}
        with pytest.raises(RequestError, match="FEATURE_RETENTION_DAYS was 0"):
            reproduced(off, "user.001", as_of=TRAINED)

    def test_is_part_of_the_publication(self, enthroned, monkeypatch):
        """What could not be computed again is not published: the run fails where
        features cannot be written, and the tables are as they were."""
        create = Artifacts.create

        def refused(self, name, data, **named):
            if name.startswith("features/"):
                raise ArtifactError("the bucket is full")
            return create(self, name, data, **named)

        monkeypatch.setattr(Artifacts, "create", refused)
        answer = enthroned.post("predictions", {"as_of": LATER})

        assert (answer.status_code, answer.json["error"]) == (500, "artifact")
        assert history(enthroned) == {}

    @pytest.mark.long
    def test_that_old_ones_stay_undeleted_fails_no_run(self, own, monkeypatch, logged):
        """The publication is there; the next run deletes them, or the bucket's rule."""

        def refused(self, prefix=""):
            raise ArtifactError("not now")

        monkeypatch.setattr(Artifacts, "generations", refused)
        logged()
        own.run("predictions", LATER)
        warnings = [line for line in logged() if line["severity"] == "WARNING"]

        assert len(folders(own)) == 2
        assert "old features not removed: not now" in warnings[0]["message"]


def folders(place: Place) -> list[str]:
    """The sets that there are."""
    names = place.registry.artifacts.names("features/")
    return sorted({name.rpartition("/")[0] for name in names})


def age(place: Place, as_of: date) -> None:
    """Make a set a year older, as its name says it."""
    artifacts = place.registry.artifacts
    for name in artifacts.names(feature_sets.folder("ga4_purchase", as_of)):
        head, stamp, tail = name.rsplit("/", 2)
        older = f"{int(stamp[:4]) - 1}{stamp[4:]}"
        artifacts.create(f"{head}/{older}/{tail}", artifacts.read(name).data)
        artifacts.delete(name)


@pytest.fixture(scope="module")
def scored(make_place) -> tuple[Place, float]:
    """Two events of a card on a day, the second with the score of the model; a
    shadow's score, and a day before."""
    place = make_place("")
    cards = scored_cards.drawn(1_500)
    scored_cards.stored(place.warehouse, cards)
    place.run("model_training", date(2026, 3, 14), use_case="card_fraud")
    registry = Registry(place.registry.artifacts, "card_fraud")
    [record] = place.rows("SELECT * FROM ma_model_training_metadata")
    model = loaded_as_trained(registry, record)
    rows = pa.RecordBatch.from_pylist([cards.given(7)])
    [score] = model.scorer.probabilities(rows).tolist()
    kind = "anomaly_score" if model.is_anomaly else "probability"
    at = datetime(2026, 3, 20, 12, tzinfo=UTC)
    common = {"user_id": "card-1", "model_version": 0}
    made = [
        ("first", at, {kind: 0.1, **common}),
        ("second", at + timedelta(hours=1), {kind: score, **common}),
        (
            "second",
            at + timedelta(hours=1),
            {kind: 0.2, "is_shadow": True, **common},
        ),
        ("before", at - timedelta(days=1), {kind: 0.3, **common}),
    ]
    scored_cards.store(
        place.warehouse,
        [
            scored_cards.inference(name, moment, cards.given(7), **more)
            for name, moment, more in made
        ],
    )
    return place, score


class TestScoredEvents:
    """Of a use case that scores events, features are in the log."""

    def test_give_the_newest_event_of_the_day(self, scored, capsys):
        """Its features, from the log, and the score that the version gives them."""
        place, score = scored
        code, out, _ = printed(
            place, capsys, "card-1", "2026-03-20", "--use-case", "card_fraud", "--json"
        )
        told = json.loads(out)

        assert code == 0
        assert told["published"] == score
        assert told["is_reproduced"]
        assert (told["event_id"], told["earlier_scores"]) == ("second", 1)
        assert (told["source"], told["model_version"]) == ("inference_log", 0)
        assert len(told["features"]) == 29

    def test_say_that_there_was_none(self, scored, capsys):
        place, _ = scored
        code, _, err = printed(
            place, capsys, "card-2", "2026-03-20", "--use-case", "card_fraud"
        )

        assert code == 1
        assert "scored no event of this user on 2026-03-20" in err
