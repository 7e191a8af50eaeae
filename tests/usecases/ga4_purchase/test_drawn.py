"""
A training that draws its users first, specified: rows and weights are those of one that
computes the features of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from propensity import statements, usecases
from propensity.trying import new_use_case
from propensity.usecases import UseCase
from tests.support import own_use_cases, shop
from tests.support.shop import DAY, event, paid, purchase
from tests.usecases.ga4_purchase.conftest import AS_OF, Export, ago

AS_OFS = [AS_OF - n * DAY for n in (0, 7, 14, 21, 28)]
# So few that what a draw leaves out would show.
MAXIMUM = 60
USER_COLUMNS = ("user_pseudo_id", "user_id", "person")


def made_up() -> list[shop.Row]:
    """A shop whose users look in by habit; some buy, log in, have another browser."""
    random = np.random.default_rng(5)
    rows = []
    for number in range(150):
        user = f"u{number:03}"
        # Each third day has a table: one for each would take ten seconds to load.
        for days_ago in 3 * random.integers(1, 67, 1 + number % 9):
            browser = f"{user}.{random.integers(0, 2)}"
            login = {"user_id": user} if random.random() < 0.3 else {}
            moment = ago(days_ago, plus=int(random.integers(0, 80_000_000_000)))
            rows.append(event(browser, moment, "view_item", **login))
            if random.random() < 0.25:
                items = [(f"item {random.integers(0, 5)}", 1)]
                rows.append(purchase(browser, moment + 9, 5.0, items=items, **login))
    # An id on more browsers than a person has; and one order in dollars, beside which
    # amounts without are not known.
    for number in range(60):
        rows.append(event(f"guest.{number:02}", ago(35), user_id="guest"))
        rows.append(event(f"guest.{number:02}", ago(3)))
    rows.append(paid("dollars", ago(40), 9.0, "USD", user_id="dollars"))
    return rows


@pytest.fixture(scope="module")
def export():
    return Export().load(shop.shards(made_up()))


@cache
def drawing(name: str = "ga4_purchase") -> str:
    return usecases.load(name).statement("training_rows")


def whole(use_case: UseCase) -> str:
    """The statement of a use case that has no keys.sql."""
    part = statements.lines_of("sampled_by_presence")
    if not use_case.knows_presence:
        part = statements.lines_of("sampled_by")
    folder = use_case.folder
    return statements.statement("training_rows", folder=folder, sampled_by=part)


def rows_of(
    export: Export, use_case: UseCase, sql: str, **given: Any
) -> Sequence[shop.Row]:
    window = use_case.window(export.settings, AS_OFS)
    table = export.warehouse.table(sql, {**window, "maximum_rows": MAXIMUM, **given})
    return sorted(table.to_pylist(), key=lambda row: (row["as_of"], row["user_id"]))


@pytest.mark.parametrize("name", ["ga4_purchase", "ga4_value"])
@pytest.mark.parametrize("user_column", USER_COLUMNS)
def test_rows_are_those_of_a_training_that_computes_all(export, name, user_column):
    use_case = usecases.load(name)
    given = {"user_column": user_column}
    expected = rows_of(export, use_case, whole(use_case), **given)

    assert 0.5 * MAXIMUM < len(expected) <= MAXIMUM
    assert len({row["weight"] for row in expected}) > 1
    assert rows_of(export, use_case, drawing(name), **given) == expected


def test_a_use_case_without_keys_computes_all(tmp_path):
    """Also one whose features have the shipped ones in them."""
    with own_use_cases.in_folder(tmp_path / "own"):
        new_use_case.write_use_case("mine", lookback_days=60, horizon_days=7)
        (tmp_path / "own" / "mine" / "features.sql").write_text(
            "SELECT * FROM (\n-- include: ga4_purchase/features.sql\n)\n"
        )
        use_case = usecases.load("mine")

        assert use_case.statement("training_rows") == whole(use_case)
