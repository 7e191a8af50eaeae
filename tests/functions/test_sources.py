"""Features of a table of one's own, through the functions: point in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from local.exports import digest
from local.exports import sources as tables
from propensity import usecases
from propensity.timeframe import midnight
from propensity.usecases import new
from tests.support import own_use_cases
from tests.support.deployment import Deployment
from tests.support.shops import TRAINED

NAME = "shop_loyal"
DAY = timedelta(days=1)
AS_OFS = (TRAINED - 14 * DAY, TRAINED - 7 * DAY, TRAINED)
USER = "user.000"


@pytest.fixture(scope="module", autouse=True)
def use_case(tmp_path_factory) -> Iterator[Any]:
    """A use case with a source, for these tests alone."""
    with own_use_cases.in_folder(tmp_path_factory.mktemp("own")):
        new.write_use_case(
            NAME,
            label_event="purchase",
            lookback_days=60,
            horizon_days=7,
            source="crm-project.crm.loyalty",
        )
        yield usecases.load(NAME)


@pytest.fixture
def load(shop_deployment, use_case) -> Callable[..., None]:
    """Replace the table: user, when it became known, and points."""

    def load(*rows: tuple[str, datetime, int]) -> None:
        [source] = use_case.sources.values()
        made = [
            {"user_id": user, "changed_at": at, "points": points, "tier": "gold"}
            for user, at, points in rows
        ]
        tables.load(
            shop_deployment.warehouse.client, source, tables.table_of(source, made)
        )

    return load


def points(deployment: Deployment, *as_ofs: date) -> dict[tuple[date, str], int | None]:
    use_case = usecases.load(NAME)
    rows = deployment.warehouse.rows(
        use_case.statement("features"), use_case.window(deployment.settings, as_ofs)
    )
    return {(row["as_of"], row["user_id"]): row["loyalty_points"] for row in rows}


def test_each_as_of_date_has_the_newest_row_before_it(shop_deployment, load):
    """One row of each user and date; a moment at midnight belongs to its day. A
    correction that comes later changes no past row."""
    known = [
        (USER, midnight(AS_OFS[0]) - 40 * DAY, 1),
        (USER, midnight(AS_OFS[0]), 2),
        (USER, midnight(TRAINED) + DAY, 4),
    ]
    digest.fill(
        shop_deployment.warehouse,
        ["purchase", "refund"],
        export=shop_deployment.settings.export,
    )
    load(*known)
    before = points(shop_deployment, *AS_OFS)
    load(*known, (USER, midnight(AS_OFS[1]) + DAY, 3))
    after = points(shop_deployment, *AS_OFS)

    assert [before[as_of, USER] for as_of in AS_OFS] == [1, 2, 2]
    assert [after[as_of, USER] for as_of in AS_OFS] == [1, 2, 3]
    assert {value for (_, user), value in after.items() if user != USER} == {None}


def test_no_partition_from_the_last_date_on_is_read():
    """The bound is a constant, and compares the day of the column."""
    sql = usecases.load(NAME).statement("features")

    assert "DATE(`changed_at`) < @known_before" in sql
    assert sql.count("`crm-project.crm.loyalty`") == 1


def test_what_cannot_be_read_is_named(shop_deployment, load, monkeypatch):
    """The table or the column."""
    load()
    use_case = usecases.load(NAME)
    [(name, source)] = use_case.sources.items()
    for change, status, named in (
        ({"table": "crm-project.crm.nothing"}, 424, "nothing"),
        ({"user_id": "member"}, 409, "member"),
    ):
        wrong = replace(use_case, sources={name: replace(source, **change)})
        with monkeypatch.context() as patch:
            patch.setattr(usecases, "load", lambda _, wrong=wrong: wrong)
            body = {"as_of": TRAINED, "use_case": NAME}
            answer = shop_deployment.post("model_training", body)

        assert answer.status_code == status
        assert named in answer.json["message"]
