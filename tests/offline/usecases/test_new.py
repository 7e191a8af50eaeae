"""
A new use case, specified: a folder that runs as it is; also with a table of one's own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from propensity import usecases
from propensity.errors import RequestError
from propensity.trying import new_use_case as new
from tests.offline.usecases.conftest import NAME

# An event of any language: it is what the site sends.
EVENT = "inscri\u00e7\u00e3o conclu\u00edda"
CHOSEN = {"label_event": EVENT, "lookback_days": 30, "horizon_days": 14}


def test_writing_a_use_case_makes_a_use_case_that_loads(use_cases):
    """Its declarations are right, and it has every statement. A dry run names the
    same files, and writes none."""
    dry = new.write_use_case("shop_sign_up", **CHOSEN, is_dry=True)
    assert [*use_cases.iterdir()] == []
    written = new.write_use_case("shop_sign_up", **CHOSEN)
    found = usecases.load("shop_sign_up")

    assert written["files"] == dry["files"]
    assert written["folder"] == use_cases / "shop_sign_up"
    assert {path.name for path in written["folder"].iterdir()} == {*written["files"]}
    assert found.parameters["converting_event"] == EVENT
    # Of customers who were away not all rows are trained on.
    assert "'away' AS is_quiet" in found.statement("training_rows")
    assert (found.lookback_days, found.horizon_days) == (30, 14)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"),
        # Nobody's use case is overwritten.
        ("name", "ga4_purchase"),
        ("source", "loyalty"),
        ("label_event", "it's"),
    ],
)
def test_writing_a_use_case_refuses_what_cannot_be(use_cases, field, value):
    """The field is named, and nothing is written."""
    with pytest.raises(RequestError) as refused:
        new.write_use_case(**{"name": "shop_sign_up", **CHOSEN, field: value})

    assert field in (refused.value.field or refused.value.message)
    assert [*use_cases.iterdir()] == []


TABLE = "crm-project.crm.loyalty"
POINTS = "MAX(loyalty.points) AS loyalty_points"


@pytest.fixture
def folder(use_cases) -> Path:
    """A use case that ``usecase new --source`` has written."""
    new.write_use_case(
        NAME, label_event="sign_up", lookback_days=4, horizon_days=2, source=TABLE
    )
    return use_cases / NAME


def test_a_column_that_is_filled_afterwards_is_a_leak(folder, edit, checked):
    """The row is of before, and tells of the purchase all the same. It is none
    where the moment is compared, or planned, such as the end of a contract. All
    else is right as it is written, and runs over made-up rows of the table."""
    tier = 'tier = "STRING"'
    moments = ("ordered_at", "ends_at")
    declared = "".join(f'\n{name} = "TIMESTAMP"' for name in moments)
    edit("usecase.toml", tier, f"{tier}{declared}")
    edit("usecase.toml", "valid_from =", 'plans = ["ends_at"]\nvalid_from =')
    read = "      points,\n"
    edit("features.sql", read, f"{read}      ordered_at,\n      ends_at,\n")
    edit("features.sql", POINTS, "COUNT(loyalty.ordered_at) AS loyalty_points")
    compared = "COUNTIF(loyalty.ordered_at < TIMESTAMP(u.as_of))"
    edit(
        "features.sql",
        "COUNT(d.day) AS active_days",
        f"{compared} + COUNT(loyalty.ends_at) AS active_days",
    )

    [problem] = checked().problems
    assert "loyalty_points reads events from" in problem
