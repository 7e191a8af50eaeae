"""Features of a table of one's own, through the functions: point in time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from local.exports import sources as tables
from offline.usecases import new
from propensity import usecases
from propensity.timeframe import midnight
from tests.functions.conftest import TRAINED, Place

NAME = "shop_loyal"
DAY = timedelta(days=1)
AS_OFS = (TRAINED - 14 * DAY, TRAINED - 7 * DAY, TRAINED)
Rows = Sequence[tuple[str, datetime, int]]


@pytest.fixture(scope="module", autouse=True)
def use_case(tmp_path_factory) -> Iterator[Any]:
    """A use case with a source, for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        copy = tmp_path_factory.mktemp("own") / "usecases"
        shutil.copytree(str(usecases.FOLDER), copy)
        patch.setattr(usecases, "FOLDER", copy)
        usecases.load.cache_clear()
        new.write(
            NAME,
            label_event="purchase",
            lookback_days=60,
            horizon_days=7,
            source="crm-project.crm.loyalty",
        )
        yield usecases.load(NAME)
    usecases.load.cache_clear()


@pytest.fixture
def load(place, use_case) -> Callable[[Rows], None]:
    """Replace the table: user, when it became known, and points."""

    def load(rows: Rows) -> None:
        [source] = use_case.sources
        made = [
            {"user_id": user, "changed_at": at, "points": points, "tier": "gold"}
            for user, at, points in rows
        ]
        tables.load(place.warehouse.client, source, tables.table_of(source, made))

    return load


def features(place: Place, *as_ofs: date) -> dict[tuple[date, str], int | None]:
    """Points of users, by as-of date."""
    use_case = usecases.load(NAME)
    rows = place.warehouse.rows(
        use_case.statement("features"), use_case.window(place.settings, as_ofs)
    )
    return {(row["as_of"], row["user_id"]): row["loyalty_points"] for row in rows}


def user_of(place: Place) -> str:
    return min(user for _, user in features(place, AS_OFS[0]))


class TestPointInTime:
    def test_has_the_newest_row_before_each_as_of_date(self, place, load):
        """One row of each user and date; a moment at midnight belongs to its day."""
        load([])
        user = user_of(place)
        load(
            [
                (user, midnight(AS_OFS[0]) - 40 * DAY, 1),
                (user, midnight(AS_OFS[0]), 2),
                (user, midnight(AS_OFS[1]) + DAY, 3),
                (user, midnight(TRAINED) + DAY, 4),
            ]
        )
        known = features(place, *AS_OFS)

        assert [known.get((as_of, user)) for as_of in AS_OFS] == [1, 2, 3]
        assert features(place, AS_OFS[0])[AS_OFS[0], user] == 1
        assert {points for (_, other), points in known.items() if other != user} == {
            None
        }

    def test_a_correction_that_came_later_changes_no_past_row(self, place, load):
        """It is known from its own moment on."""
        load([])
        user = user_of(place)
        before: Rows = [(user, midnight(AS_OFS[0]) - DAY, 1)]
        load(before)
        past = features(place, *AS_OFS[:2])
        load([*before, (user, midnight(AS_OFS[1]) + DAY, 100)])

        assert features(place, *AS_OFS[:2]) == past
        assert features(place, TRAINED)[TRAINED, user] == 100

    def test_reads_no_partition_from_the_last_date_on(self, place):
        """The bound is a constant, and compares the column itself."""
        sql = usecases.load(NAME).statement("features")

        assert "`changed_at` < CAST(@known_before AS TIMESTAMP)" in sql
        assert sql.count("`crm-project.crm.loyalty`") == 1


class TestRuns:
    def test_train_publish_and_watch_its_features(self, place, load):
        """As of any other feature: importance, histograms and drift have them."""
        load([])
        users = sorted({user for _, user in features(place, *AS_OFS)})
        load(
            [
                (user, midnight(TRAINED) - 100 * DAY, number % 5)
                for number, user in enumerate(users)
            ]
        )
        trained = place.run("model_training", TRAINED, use_case=NAME)
        published = place.run("predictions", TRAINED, use_case=NAME)
        [row] = place.rows(
            "SELECT card FROM ma_model_training_metadata WHERE use_case = @name",
            name=NAME,
        )

        assert trained["promoted"] is True
        assert published["users"] == len(features(place, TRAINED))
        assert '"loyalty_points"' in row["card"]

    @pytest.mark.parametrize(
        ("change", "status", "message"),
        [
            ({"table": "crm-project.crm.nothing"}, 424, "crm.nothing"),
            ({"user_id": "member"}, 409, "member is missing, expected the column"),
            (
                {"columns": {"points": "STRING"}},
                409,
                "points is INT64, expected STRING",
            ),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_say_first_what_they_cannot_read(
        self, place, monkeypatch, change, status, message
    ):
        """Before a query is paid for."""
        use_case = usecases.load(NAME)
        tables.load(
            place.warehouse.client,
            use_case.sources[0],
            tables.table_of(use_case.sources[0], []),
        )
        [source] = use_case.sources
        wrong = replace(use_case, sources=[replace(source, **change)])
        monkeypatch.setattr(usecases, "load", lambda _: wrong)
        answer = place.post("model_training", {"as_of": TRAINED, "use_case": NAME})

        assert answer.status_code == status
        assert message in answer.json["message"]
        assert answer.json.get("bytes_billed", 0) == 0
