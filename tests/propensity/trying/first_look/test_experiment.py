"""
An experiment of one's own, specified: what contacting added, when to contact by effect,
and which tables say nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from propensity import try_experiment
from propensity.errors import NotEnoughData, SchemaError
from propensity.trying.first_look.advice import Advice

NAMES = {"treatment": "mail", "control": "none", "label": "bought", "user": "customer"}


def campaign(users: int = 6_000, *, seed: int = 0, undecided: float = 0.12):
    """Customers of whom half got a mail; of the undecided it makes so many buy more."""
    random = np.random.default_rng(seed)
    visits = random.poisson(4, users)
    is_undecided = random.random(users) < 0.4
    is_mailed = random.random(users) < 0.5
    # Who visits often buys anyway; the undecided visit as often as others.
    rate = np.where(is_undecided, 0.05, 0.02 + 0.03 * visits)
    rate = rate + is_mailed * np.where(is_undecided, undecided, 0.0)
    return pd.DataFrame(
        {
            "customer": [f"c{n}" for n in range(users)],
            "visits": visits,
            "segment": np.where(is_undecided, "undecided", "usual"),
            "mail": np.where(is_mailed, "spring", "none"),
            "bought": (random.random(users) < rate).astype(int),
        }
    )


def alike(users: int, *, seed: int) -> pd.DataFrame:
    """Customers who all react alike, whatever else they are."""
    random = np.random.default_rng(seed)
    visits = random.poisson(4, users)
    is_mailed = random.random(users) < 0.5
    bought = random.random(users) < 0.02 + 0.03 * visits + 0.03 * is_mailed
    return pd.DataFrame(
        {
            "visits": visits,
            "age": random.normal(40, 10, users),
            "segment": random.choice(["a", "b", "c"], users),
            "mail": np.where(is_mailed, "spring", "none"),
            "bought": bought.astype(int),
        }
    )


@pytest.fixture(scope="module")
def look():
    return try_experiment(campaign(), **NAMES)


def test_the_undecided_are_contacted_first_if_they_alone_react(look):
    """Of the users 40% are undecided, and 12% of these buy because of the mail."""
    arm = look.arms[0]
    effect = arm.effects.mean()

    assert effect.low < 0.4 * 0.12 < effect.high
    assert arm.is_open
    assert arm.at_share(arm.effects.effect) > 1.5 * arm.at_share(arm.effects.expected)
    assert list(arm.reacting) == ["segment"]
    assert Advice.of(arm).sentence in look.page()
    assert 'class="verdict good"' in look.page()
    assert "<script" not in look.page()


def test_an_effect_that_may_be_chance_is_grey():
    look = try_experiment(campaign(2_000, undecided=0.0, seed=1), **NAMES)
    [arm] = look.arms

    assert 'class="verdict open"' in look.page()
    advice = Advice.of(arm)
    assert advice.sentence.startswith("It is undecided whether contacting everybody")
    assert (advice.code, advice.needs_person) == ("undecided", True)
    # Nobody says that it helps, so that there is no list of everybody.
    assert look.scores(campaign(300, seed=5)).empty
    assert look.whom_it_lists == "nobody"


def of_cities(*effects: float) -> pd.DataFrame:
    """Customers of cities, in each of which a mail adds so much to a rate of 20%."""
    random = np.random.default_rng(3)
    table = campaign(8_000)
    city = random.integers(0, len(effects), len(table))
    rate = 0.2 + (table["mail"] == "spring") * np.array(effects)[city]
    bought = (random.random(len(table)) < rate).astype(int)
    return table.assign(city=[f"c{n}" for n in city], bought=bought)


def test_nobody_is_contacted_whom_it_harms():
    """On the page and in the list, too."""
    look = try_experiment(of_cities(-0.06), **NAMES)
    [arm] = look.arms

    assert arm.effect.is_below()
    assert Advice.of(arm).code == "nobody"
    assert "Use      Do not contact everybody: " in repr(look)
    assert "Contact nobody." in look.page()
    assert 'class="verdict wait"' in look.page()
    assert look.scores(of_cities(-0.06).head(500)).empty


def test_only_a_group_that_it_helps_is_contacted_where_it_harms_others():
    look = try_experiment(of_cities(0.12, -0.1, -0.1, -0.1), **NAMES)
    [arm] = look.arms
    others = of_cities(0.12, -0.1, -0.1, -0.1).head(500)
    listed = look.scores(others)["customer"]

    assert Advice.of(arm).code == "groups"
    assert "Contact only city = c0 (" in Advice.of(arm).sentence
    assert len(listed) > 50
    assert set(others.set_index("customer")["city"][listed]) == {"c0"}


def test_what_does_not_pay_is_not_advised():
    """For another outcome of the same treatment, too."""
    table = campaign()
    table["spend"] = 2.0 * table["bought"]
    names = {**NAMES, "label": ["bought", "spend"]}
    look = try_experiment(table, **names, cost_per_contact=5, margin=0.4)

    assert [Advice.of(arm).code for arm in look.arms] == ["at_a_loss", "at_a_loss"]
    assert "Do not contact at this cost" in look.page()
    assert look.scores(table.head(50)).empty


def test_users_without_an_outcome_are_counted_by_group():
    """And refused where the groups differ: without the contacted who bought nothing, an
    effect of 3.8 would be 8.7."""
    table = campaign()
    random = np.random.default_rng(5)
    is_some = random.random(len(table)) < 0.1
    at_random = table.assign(bought=table["bought"].where(~is_some))
    is_lost = is_some & (table["mail"] == "spring") & (table["bought"] == 0)
    lost = table.assign(bought=table["bought"].where(~is_lost, "unknown"))
    [note] = try_experiment(at_random, **NAMES).read.notes

    sizes = table["mail"].value_counts()
    unknown = table["mail"][is_some].value_counts()
    shown = [
        f"{unknown[arm]:,} of {sizes[arm]:,} users of {arm}" for arm in sizes.index
    ]
    assert all(text in note for text in shown)
    with pytest.raises(SchemaError, match="no value of bought, which differs beyond"):
        try_experiment(lost, **NAMES)


def test_another_outcome_beside_the_label_is_no_feature():
    """Nothing would react, and the order by effect would be lost."""
    table = campaign()
    random = np.random.default_rng(6)
    is_large = (table["bought"] == 1) & (random.random(len(table)) < 0.2)
    look = try_experiment(table.assign(large=is_large.astype(int)), **NAMES)

    assert "large" in look.left_out
    assert any("by --outcomes" in note for note in look.read.notes)
    assert list(look.arms[0].reacting) == ["segment"]


def test_each_treatment_is_compared_with_the_control_group_alone():
    table = campaign(8_000)
    is_other = (table["mail"] == "spring") & (table.index % 2 == 0)
    table.loc[is_other, "mail"] = "summer"

    look = try_experiment(table, **NAMES)

    sizes = table["mail"].value_counts()
    assert [arm.name for arm in look.arms] == ["spring", "summer"]
    for arm in look.arms:
        assert len(arm.experiment) == sizes["none"] + sizes[arm.name]


def test_a_table_that_says_nothing_of_an_effect_is_refused():
    table = campaign()
    is_mailed = table["mail"] == "spring"
    clicks = is_mailed & (np.random.default_rng(2).random(len(table)) < 0.2)
    by_hand = np.where(table["visits"] > 4, "spring", "none")
    codes = np.where(is_mailed, "S1", [f"N{n // 9}" for n in range(len(table))])
    for wrong, message in (
        # A column that was written after the contact; groups that nobody drew.
        (table.assign(clicked=clicks.astype(int)), "in clicked"),
        # Rare codes of one group beside one code of the other ended in a traceback.
        (table.assign(code=codes), "in code"),
        (table.assign(mail=by_hand), "in visits"),
        (pd.concat([table, table.head(1)]), "has another row"),
        (table.assign(mail="spring"), "no value 'none'"),
        (table.head(60), "it takes 200 users"),
    ):
        with pytest.raises((SchemaError, NotEnoughData), match=message):
            try_experiment(wrong, **NAMES)
    with pytest.raises(SchemaError) as caught:
        try_experiment(table, **NAMES | {"control": "nobody"})
    assert "none, spring" in caught.value.hint


def test_others_are_listed_in_the_order_that_the_verdict_allows(look):
    """By effect, once that adds more; otherwise by what they do anyway."""
    others = campaign(300, seed=5).drop(columns=["mail", "bought"])
    by_effect = look.scores(others)
    undecided = others.set_index("customer")["segment"] == "undecided"
    first = by_effect["customer"].head(100)
    by_probability = try_experiment(alike(6_000, seed=3), **NAMES | {"user": None})
    listed = by_probability.scores(alike(300, seed=6))

    assert [*by_effect.columns] == ["customer", "treatment", "effect", "expected"]
    assert by_effect["effect"].is_monotonic_decreasing
    assert by_effect["effect"].min() > 0
    assert undecided[first].mean() > 0.9
    assert not by_probability.arms[0].is_open
    assert listed["expected"].is_monotonic_decreasing
    assert {*listed["row"]} == set(range(1, 301))


def test_several_outcomes_are_looked_at_together(look):
    """A profit is of the sums among them, what contacting earned less what it cost."""
    table = campaign()
    table["spend"] = 20.0 * table["bought"]
    names = {**NAMES, "label": ["bought", "spend"]}
    both = try_experiment(table, **names, cost_per_contact=0.1, margin=0.4)
    bought, spend = both.plain_arms()
    contacted = (table["mail"] == "spring").sum()

    assert (bought["outcome"], spend["outcome"]) == ("bought = 1", "spend")
    assert bought["effect"] == pytest.approx(look.plain_arms()[0]["effect"])
    assert bought["profit"] is None
    expected = contacted * (0.4 * spend["effect_low"] - 0.1)
    assert spend["profit_low"] == pytest.approx(expected)
    assert repr(both).count("Profit ") == 1
    with pytest.raises(SchemaError, match="differ beyond chance in spend"):
        try_experiment(table, **NAMES)
    with pytest.raises(SchemaError, match="a profit needs sums of money"):
        try_experiment(campaign(), **NAMES, cost_per_contact=0.1, margin=0.4)
