"""The sum that contacting brought, specified: figures, interval, sentence."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from local.ground.sandbox import opened
from propensity import usecases
from propensity.audience.programme import (
    apart,
    programme_lines,
    programmes,
    shared_groups,
)
from propensity.audience.result import (
    brought_headline,
    by_week,
    claim,
    newest,
    result,
    sentence,
)
from propensity.settings import Settings
from propensity.statements import statement

WEEK = date(2026, 6, 3)
COST = Decimal("340.50")


def row(**changed):
    """Return a stored row of an audience; an interval of ±19.16 around 0.32."""
    stored = {"week": WEEK, "status": "final", "verdict": "open"}
    stored |= {"treated_users": 681, "control_users": 150, "revenue_difference": 0.32}
    stored |= {"revenue_difference_low": -18.83, "revenue_difference_high": 19.48}
    return {**stored, **changed}


def test_the_sentence_has_amounts_with_their_currency():
    assert sentence(result(row(cost=COST)), "USD") == (
        "Contacting 681 users brought 218 USD more than not contacting them (95% "
        "interval −12,800 to 13,300); their first contacts cost 341 USD (later ones, "
        "and what they brought, are not counted). The difference may be chance."
    )


def test_a_margin_turns_the_sum_into_a_profit_with_its_interval():
    """A quarter of 6,810 is left, less 340.50."""
    sold = row(revenue_difference=10.0, revenue_difference_low=5.0)
    sold["revenue_difference_high"] = 15.0
    found = result({**sold, "cost": COST, "margin": 0.25})

    assert found.gain.profit.estimate == pytest.approx(1_362)
    assert sentence(found, "EUR").endswith(
        "At a margin of 25%, that is a profit of 1,362 EUR (95% interval 511 to 2,210)."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"revenue_difference": -2.0}, "brought 1,362 USD less than not contacting"),
        ({"revenue_difference": None}, "is not known: their outcomes have no amounts"),
        ({"control_users": 0, "revenue_difference": None}, "there is no control group"),
        ({"verdict": "sample_ratio"}, "is not known: some users got lost on the way"),
        ({"treated_users": 0}, "No user has been contacted yet"),
        (
            {"revenue_difference_low": None},
            "is not known: it takes 40 buyers in each group",
        ),
    ],
)
def test_the_sentence_says_why_there_is_no_sum_or_no_interval(changed, said):
    assert said in sentence(result(row(**changed)), "USD")


def test_a_headline_has_no_sum_that_may_be_chance():
    """Nor does a sentence refute a verdict, which is of how many users bought."""
    undecided = result(row(revenue_difference=-2.0))
    helping = result(row(verdict="helps"))
    sure = result(row(revenue_difference_low=0.1, verdict="helps"))

    assert brought_headline(undecided, "USD") == (
        "Too early to say what contacting 681 users brought"
    )
    assert brought_headline(helping, "USD").startswith(
        "Contacting helps; too early to say"
    )
    assert brought_headline(sure, "USD") == claim(sure, "USD")
    assert sentence(undecided, "USD").endswith("The difference may be chance.")
    assert "Contacting helps, by how many had" in sentence(helping, "USD")


def test_the_newest_sum_is_shown_with_the_verdict_of_final_outcomes():
    """The headline, the weekly report and the chart have one sum."""
    later = row(week=date(2026, 6, 10), status="provisional", verdict="open")
    before = row(week=date(2026, 5, 27), verdict="harms")
    shown = newest([later, row(verdict="helps"), before])

    assert (shown["week"], shown["verdict"]) == (date(2026, 6, 10), "helps")
    assert "; provisional)" in sentence(result(shown), "USD")
    assert newest([later])["verdict"] == "open"
    found = [
        (each.week.day, each.verdict.code) for each in by_week([later, row(), before])
    ]
    assert found == [(27, "harms"), (3, "open"), (10, "open")]
    assert by_week([later, before])[-1].verdict.code == "harms"


def test_no_sum_is_shown_between_users_who_got_lost_and_the_next_final_outcomes():
    """Of no date: the newest alone would be missing in the chart."""
    weeks = [row(verdict="sample_ratio")]
    for day in (10, 17):
        weeks.append(row(week=date(2026, 6, day), status="provisional"))
    shown = [each.gain.amount for each in by_week(weeks)]

    assert shown == [None, None, None]
    assert by_week([*weeks, row(week=date(2026, 6, 24))])[-1].gain.amount is not None


def programme_row(week, *, period="all", brought=900.0):
    stored = {"control_group": "shop", "audiences": ["mailing", "winback"]}
    stored |= {"period": period, "week": week, "status": "final", "verdict": "helps"}
    stored |= {"treated_users": 600, "control_users": 100, "margin": 0.5, "cost": 60.0}
    sums = {"conversion_difference": (40.0, 30.0)}
    sums["revenue_difference"] = (brought, 800.0)
    for name, (value, reach) in sums.items():
        stored |= {name: value / 600, f"{name}_low": (value - reach) / 600}
        stored[f"{name}_high"] = (value + reach) / 600
    return stored


def test_a_programme_says_what_it_brought_in_all_and_by_quarter():
    rows = [
        programme_row(date(2026, 3, 30)),
        programme_row(date(2026, 4, 6), brought=1_500.0),
        programme_row(date(2026, 3, 30), period="2026-Q1"),
        programme_row(date(2026, 4, 6), period="2026-Q2", brought=600.0),
    ]
    few = {"control_group": "few", "treated_users": 10}
    others = {**programme_row(date(2026, 4, 6)), **few}
    together, smaller = programmes([others, *rows], {})
    of_all, buyers, first, second = programme_lines(together, "EUR")

    # The largest comes first.
    assert smaller.control_group == "few"
    assert "(mailing, winback): Contacting 600 users brought 1,500 EUR more" in of_all
    assert "their first contacts cost 60.00 EUR" in of_all
    assert "profit of 690 EUR" in of_all
    assert "About 40 more users" in buyers
    assert first.startswith("2026-Q1: Contacting 600 users brought 900 EUR more")
    assert "the amount may be chance" in second


def test_a_sum_that_two_use_cases_have_is_not_added():
    """Each would claim the whole of what both have brought."""
    plans = [
        {"use_case": use_case, "audience": audience, "control_group": group}
        for use_case, audience, group in (
            ("shop_uk", "call", "shop"),
            ("shop_uk", "call", "shop"),
            ("ga4_purchase", "mailing", "shop"),
            ("ga4_value", "winback", "winback"),
        )
    ]
    shared = shared_groups(plans, "ga4_purchase")
    [together] = programmes([programme_row(date(2026, 3, 30))], shared)
    of_all, *_ = programme_lines(together, "EUR")

    assert together.shared_with == ["call of shop_uk"]
    assert "shared with call of shop_uk" in of_all
    assert of_all.endswith("don't add the sums.")


def test_audiences_with_control_groups_of_their_own_are_told_how_to_share_one(
    tmp_path, monkeypatch
):
    """In the words of their files; nothing where they share one."""
    monkeypatch.setenv("PROPENSITY_USE_CASES", str(tmp_path))
    folder = tmp_path / "ga4_purchase" / "audiences"
    folder.mkdir(parents=True)
    (folder / "a.toml").write_text('destination = "bucket"\ntop = 2\n')
    (folder / "b.toml").write_text('destination = "bucket"\ntop = 2\n')
    use_case = usecases.load("ga4_purchase")
    settings = Settings(project="my-project")

    assert "they have 2 control groups (a; b)" in apart(settings, use_case)
    assert 'control_group = "a"' in apart(settings, use_case)
    shared = 'destination = "bucket"\ntop = 2\ncontrol_group = "a"\n'
    (folder / "b.toml").write_text(shared)
    assert apart(settings, use_case) == ""


def test_a_user_counts_once_at_the_first_date_of_whatever_lists_there_are():
    """Also of lists that are in no table of a deployment. With the cost of all contacts
    of that date, unless one is not known."""
    rows = [
        ("a", date(2026, 3, 2), "u1", "0.10"),
        ("b", date(2026, 3, 2), "u1", "0.20"),
        ("b", date(2026, 3, 9), "u1", "0.30"),
        ("a", date(2026, 3, 9), "u2", "0.10"),
        ("b", date(2026, 3, 9), "u2", "NULL"),
        ("b", date(2026, 2, 23), "u3", "0.10"),
        ("a", date(2026, 3, 2), "u3", "0.10"),
    ]
    texts = [
        f"STRUCT('lists' AS scope, 'all' AS name, '{audience}' AS audience, "
        f"DATE '{day}' AS as_of, '{user}' AS user_id, FALSE AS is_control, "
        f"0.5 AS probability, CAST({cost} AS NUMERIC) AS cost, 0.4 AS margin)"
        for audience, day, user, cost in rows
    ]
    sql = f"WITH memberships AS (SELECT * FROM UNNEST([{', '.join(texts)}])),\n"
    sql += statement("first_memberships")
    sql += "SELECT user_id, as_of, cost FROM entries ORDER BY user_id"
    with opened() as sandbox:
        days = [date(2026, 3, 2), date(2026, 3, 9)]
        found = sandbox.table(sql, {"as_ofs": days}).to_pylist()

    assert [tuple(row.values()) for row in found] == [
        ("u1", date(2026, 3, 2), Decimal("0.3")),
        ("u2", date(2026, 3, 9), None),
    ]
