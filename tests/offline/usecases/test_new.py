"""
A new use case, specified: a folder that runs as it is; also with a table of one's own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.cli import main
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.errors import RequestError
from propensity.usecases import new
from tests.offline.usecases.conftest import NAME

# An event of any language: it is what the site sends.
EVENT = "inscri\u00e7\u00e3o conclu\u00edda"
CHOSEN = {"label_event": EVENT, "lookback_days": 30, "horizon_days": 14}


class TestWrite:
    def test_writing_a_use_case_makes_a_use_case_that_loads(self, use_cases):
        """Its declarations are right, and it has every statement. A dry run names the
        same files, and writes none."""
        dry = new.write_use_case("shop_sign_up", **CHOSEN, is_dry=True)
        assert [*use_cases.iterdir()] == []
        written = new.write_use_case("shop_sign_up", **CHOSEN)
        found = usecases.load("shop_sign_up")

        assert written["files"] == dry["files"]
        assert written["folder"] == use_cases / "shop_sign_up"
        assert {path.name for path in written["folder"].iterdir()} == {
            *written["files"]
        }
        assert found.parameters["converting_event"] == EVENT
        assert (found.lookback_days, found.horizon_days) == (30, 14)

    @pytest.mark.parametrize("name", ["ga4_purchase", "ga4_value", "shop_sign_up"])
    def test_customers_who_were_away_are_sampled_by_themselves(self, use_cases, name):
        """Defect: of new use cases all of their rows were trained on."""
        new.write_use_case("shop_sign_up", **CHOSEN)

        assert "'away' AS is_quiet" in usecases.load(name).statement("training_rows")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("name", name) for name in ("", "Shop", "../x", "a" * 65)),
            # Nobody's use case is overwritten.
            ("name", "ga4_purchase"),
            ("source", "loyalty"),
            ("label_event", "it's"),
            ("label_event", ""),
            ("lookback_days", 0),
            ("horizon_days", -1),
        ],
    )
    def test_writing_a_use_case_refuses_what_cannot_be(self, use_cases, field, value):
        """The field is named, and nothing is written."""
        there = {*use_cases.iterdir()}
        with pytest.raises(RequestError) as refused:
            new.write_use_case(**{"name": "shop_sign_up", **CHOSEN, field: value})

        assert field in (refused.value.field or refused.value.message)
        assert {*use_cases.iterdir()} == there


TABLE = "crm-project.crm.loyalty"
POINTS = "MAX(loyalty.points) AS loyalty_points"


@pytest.fixture
def folder(use_cases) -> Path:
    """A use case that ``usecase new --source`` has written."""
    new.write_use_case(
        NAME, label_event="sign_up", lookback_days=4, horizon_days=2, source=TABLE
    )
    return use_cases / NAME


class TestALeak:
    def test_a_column_that_is_filled_afterwards_is_a_leak(self, folder, edit, checked):
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

    def test_a_leak_by_the_table_itself_is_refused(self, folder, edit, checked):
        """It has rows of after the as-of date; the source's name has none."""
        edit("features.sql", "    FROM loyalty\n", f"    FROM `{TABLE}`\n")

        assert "Unrecognized name: as_of" in str(checked())


class TestAnInstance:
    def test_an_instance_reads_another_property(self, use_cases, capsys):
        """Its file has the parameters too, since settings don't count for it."""
        words = "usecase new shop_uk --like ga4_purchase --ga4-dataset uk.analytics_2"
        more = "--utc-offset-hours 1 --currency GBP --user-column user_id"
        assert main([*words.split(), *more.split()]) == Exit.DONE
        made = usecases.load("shop_uk")

        assert made.ga4_property.ga4_dataset == "uk.analytics_2"
        assert made.ga4_property.utc_offset_hours == 1
        assert made.currency == "GBP"
        assert made.parameters == {
            "user_column": "user_id",
            "label_event": "purchase",
        }
        assert "user_column" in (use_cases / "shop_uk" / "usecase.toml").read_text()

    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            ("--like ga4_purchase --horizon-days 7", "--like takes no --horizon-days"),
            ("--ga4-dataset analytics_2", "--ga4-dataset needs --like"),
            ("--like ga4_purchse", "there is no use case 'ga4_purchse'"),
            ("--like ga4_purchase --ga4-dataset a/b", "property.ga4_dataset is 'a/b'"),
        ],
    )
    def test_what_makes_no_instance_is_refused(self, use_cases, capsys, words, problem):
        assert main(["usecase", "new", "shop_uk", *words.split()]) == Exit.UNKNOWN
        assert problem in capsys.readouterr().err
        assert not (use_cases / "shop_uk").exists()
