"""
``propensity reproduce``, specified with the function that publishes.

What was published can be computed again to the last bit, whatever became of the export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from commands.cli import main
from propensity.errors import ArtifactError, RequestError
from propensity.tables import PREDICTIONS, PREDICTIONS_HISTORY
from tests.emptied import Objects, empty_tables
from tests.functions.conftest import LATER, TRAINED, Place, entered
from tests.functions.reproducing import (
    SOME,
    USE_CASE,
    USERS,
    before,
    features_of,
    history,
    kept_users,
    printed,
    published,
    reproduced,
)
from tests.functions.test_value import COLUMNS, without_amounts
from tests.propensity.registry.versions import overwrite

pytestmark = pytest.mark.runs

# Fixtures.
__all__ = ["before", "published"]


@pytest.fixture
def own(published) -> Iterator[Place]:
    """The same for a test that alters it: tables and objects are put back."""
    objects = Objects(published.registry.artifacts)
    tables = (PREDICTIONS, PREDICTIONS_HISTORY)
    rows = {table: published.rows(f"SELECT * FROM {table.name}") for table in tables}
    yield published
    objects.put_back()
    empty_tables(published.warehouse, tables)
    for table, rows_before in rows.items():
        published.warehouse.write(
            table, pa.Table.from_pylist(rows_before, table.arrow_schema())
        )


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
        ("column", "by", "expected"),
        [
            ("probability", "0.001", (1, "differs by -0.001")),
            ("expected_value", "NUMERIC '0.01'", (1, "computed  differs")),
            pytest.param(
                "probability",
                "1e-15",
                (0, "equal but for the last digits"),
                marks=pytest.mark.long,
            ),
            pytest.param(
                "expected_value",
                "NUMERIC '0.000000001'",
                (0, "equal but for the last digits"),
                marks=pytest.mark.long,
            ),
        ],
    )
    def test_that_differ_are_noticed(self, own, capsys, column, by, expected):
        """An altered row fails the command. Last digits are forgiven: another processor
        may add floats in another order."""
        own.warehouse.execute(
            f"UPDATE ma_predictions_history SET {column} = {column} + {by} "
            "WHERE as_of = @day AND user_id = 'user.001'",
            {"day": LATER},
        )
        status, out, _ = printed(own, capsys, "user.001", str(LATER))

        assert (status, expected[1] in out) == (expected[0], True)
        assert ("equal to the last bit" in out) == (column == "expected_value")

    def test_of_a_version_without_amounts_are_none(self, place, first_model, capsys):
        """The command says so, since other versions have amounts. The publication's
        promise is null, and not 0."""
        without_amounts(first_model).put_into(place)
        place.run("predictions", LATER)
        [row] = place.rows("SELECT * FROM ma_publications")
        code, out, _ = printed(place, capsys, "user.001", str(LATER))

        assert [row[f"value_promised{end}"] for end in ("", "_low", "_high")] == [
            *[None] * 3
        ]
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
        report = json.loads(out)

        assert code == 0
        assert report["published"] == report["computed"] == row["probability"]
        assert report["is_identical"] is report["is_reproduced"] is True
        assert report["difference"] == 0
        assert set(report["features"]) == set(USE_CASE.features)
        assert (report["user_id"], report["as_of"]) == ("user.001", str(LATER))

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
        assert "not a date as YYYY-MM-DD" in err


class TestDifferences:
    @pytest.mark.long
    def test_of_libraries_are_named(self, own):
        """What the scores depend on may have changed since."""
        names = own.registry.artifacts.names("features/")
        [name] = [name for name in names if name.endswith("manifest.json")]
        manifest = json.loads(own.registry.artifacts.read(name).data)
        manifest["libraries"]["numpy"] = "1.0.0"
        overwrite(own.registry, name, json.dumps(manifest).encode())
        [result] = reproduced(own, "user.001")

        assert result.is_identical
        assert "numpy 1.0.0 (here " in str(result)

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
