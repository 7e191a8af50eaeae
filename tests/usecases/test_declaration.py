"""
What a usecase.toml may say, specified: a mistake is found, and its entry named.
"""

from __future__ import annotations

from typing import get_args

import pytest

from propensity import usecases
from propensity.errors import UseCaseError
from propensity.events import types
from propensity.learning import candidates
from propensity.usecases import declaration

TOML = """\
title = "t"
outcome = "o"
lookback_days = 60
horizon_days = 7
threshold = 0.5

[parameters]
label_event = "purchase"
user_column = "user_pseudo_id"

[event_params]
coupon = "STRING"

[user_properties]
plan = "STRING"

[features]
recency_days = "number"
country = "category"

[baseline]
feature = "recency_days"
ascending = true

[[candidates]]
name = "lr"
algorithm = "LogisticRegression"
[candidates.parameters]
C = 0.5

[[candidates]]
name = "trees"
algorithm = "ExtraTreesClassifier"

[[candidates]]
name = "average"
algorithm = "VotingClassifier"
[candidates.parameters]
of = ["lr", "trees"]

[stream]
events = ["spin"]

[events.spin]
stake = "amount"

[sources.loyalty]
table = "crm.loyalty"
user_id = "customer"
valid_from = "at"
plans = ["ends"]
[sources.loyalty.columns]
points = "INT64"
ends = "DATE"
"""

# A line of TOML, what stands there instead, and what is said of it.
MISTAKES = [
    ('title = "t"', "title = 3", "title must be a text; it is 3"),
    (
        'title = "t"',
        'title = "t"\ntitel = "t"',
        "unknown entry titel. Did you mean title?",
    ),
    ('title = "t"', 'title = "t"\nname = "t"', "name is unknown"),
    (
        "lookback_days = 60",
        "lookback_days = 0",
        "lookback_days is 0; it must be 1 or more",
    ),
    ("horizon_days = 7", "horizon_days = true", "horizon_days must be a whole"),
    ("threshold = 0.5", "threshold = 1.5", "threshold is 1.5; it must be 1.0 or less"),
    (
        "threshold = 0.5",
        "threshold = -0.5",
        "threshold is -0.5; it must be 0.0 or more",
    ),
    ("threshold = 0.5", "threshold = 0.5\nspan = 3", "span must be a text"),
    ('outcome = "o"', 'outcome = " "', "outcome is ' '; use a text that is not blank"),
    (
        "horizon_days = 7",
        "horizon_days = 3651",
        "horizon_days is 3651; it must be 3650 or less",
    ),
    (
        "horizon_days = 7",
        "horizon_days = 91\nstride_days = 1",
        "too close together for outcomes of 91 days; use 2 or more",
    ),
    (
        "threshold = 0.5",
        'threshold = 0.5\nbudget = "0%"',
        "budget is '0%': use a number",
    ),
    (
        'label_event = "purchase"',
        "label_event = 0.5",
        "parameters.label_event must be a whole number or a text",
    ),
    ('label_event = "purchase"', "horizon_days = 30", "parameters.horizon_days: every"),
    ('label_event = "purchase"', '"a b" = "x"', "parameters.a b is not a valid name"),
    (
        'coupon = "STRING"',
        'coupon = "TEXT"',
        "event_params.coupon: there is no TEXT. Use one of INT64, NUMERIC, STRING",
    ),
    (
        'coupon = "STRING"',
        '"cou\'pon" = "STRING"',
        "event_params.cou'pon is not a valid name",
    ),
    ('plan = "STRING"', '2nd = "STRING"', "user_properties.2nd is not a valid name"),
    (
        'country = "category"',
        'country = "text"',
        "features.country: there is no text. Use one of category, number",
    ),
    *(
        ('country = "category"', f'{name} = "number"', f"features.{name}: training has")
        for name in ("Label", "weight", "user_id", "sampled_by", "truth_time")
    ),
    ('country = "category"', '"a-b" = "number"', "features.a-b is not a valid name"),
    ('feature = "recency_days"', 'feature = "country"', "baseline.feature: country is"),
    (
        "ascending = true",
        'ascending = "yes"',
        "baseline.ascending must be true or false",
    ),
    (
        '"LogisticRegression"',
        '"XGBoost"',
        "candidates[0].algorithm: there is no XGBoost",
    ),
    ('"ExtraTreesClassifier"', '"HalfSpaceTrees"', "candidates: trees is a HalfSp"),
    ('name = "trees"', 'name = "lr"', "candidates: two are named lr"),
    ('name = "trees"', 'name = "trees"\nnam = "t"', "unknown entry candidates[1].nam"),
    *(
        ('of = ["lr", "trees"]', mean, "candidates: average needs one parameter, of")
        for mean in ('of = ["lr", "tree"]', 'of = ["lr", "lr"]', 'of = ["lr"]\nC = 1')
    ),
    ('of = ["lr", "trees"]', "of = []", "candidates: average needs one parameter, of"),
    (
        "[stream]",
        '[stream]\ncurrency = "euro"',
        "stream.currency is 'euro'; use three capitals",
    ),
    ("[stream]", "[stream]\nscored = [1]", "stream.scored[0] must be a text"),
    ("[events.spin]", '[events."a spin"]', "events.a spin is not a valid name"),
    ('user_id = "customer"', 'user_id = "a b"', "sources.loyalty.user_id is 'a b'"),
    ('plans = ["ends"]', 'plans = "ends"', "sources.loyalty.plans must be a list"),
    ('events = ["spin"]', 'events = "spin"', "stream.events must be a list"),
    ("[stream]", '[stream]\namount = "country"', "stream.amount: country is not a num"),
    ("[stream]", '[stream]\namount = ""', "stream.amount is ''"),
    ('stake = "amount"', 'stake = "money"', "events.spin.stake: there is no money"),
    ('"crm.loyalty"', '"loyalty"', "sources.loyalty.table is 'loyalty'"),
    ('"crm.loyalty"', '"crm.events_*"', "sources.loyalty.table is 'crm"),
    (
        'valid_from = "at"',
        'valid_from = "at it"',
        "sources.loyalty.valid_from is 'at it'",
    ),
    (
        'points = "INT64"',
        'points = "JSON"',
        "sources.loyalty.columns.points: there is no JSON",
    ),
    ('plans = ["ends"]', 'plans = ["end"]', "sources.loyalty.plans: end is not among"),
]


def problems(text: str) -> list[str]:
    """What is said of a text; nothing where it is right."""
    try:
        usecases.parse("toy", text)
    except UseCaseError as error:
        return error.message.splitlines()
    return []


def problems_of(old: str, new: str) -> list[str]:
    """The problems where a line, or what it ends with, is replaced."""
    assert TOML.count(f"{old}\n") == 1
    return problems(TOML.replace(f"{old}\n", f"{new}\n"))


class TestProblems:
    def test_problems_are_none_where_all_is_right(self):
        """Trees that need no truth are right where events are scored, and only there:
        of users they would know nothing."""
        text = TOML.replace("ExtraTreesClassifier", "HalfSpaceTrees")
        scoring = text.replace("[stream]", '[stream]\nscored = ["spin"]')

        assert problems(TOML) == problems(scoring) == []

    @pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
    def test_problems_name_the_entry(self, old, new, message):
        """A mistake is told, and where it stands."""
        [problem] = problems_of(old, new)

        assert problem.startswith("toy/usecase.toml: ")
        assert message in problem

    @pytest.mark.parametrize("name", ["ga_events", "ma_drift", "stream_events"])
    def test_problems_name_a_source_that_is_a_table_of_the_deployment(self, name):
        [problem] = problems(TOML.replace("[sources.loyalty", f"[sources.{name}"))

        assert f"sources.{name}: a deployment has a table of this name" in problem

    @pytest.mark.parametrize(
        ("candidates", "wrong"), [("[]", "is empty"), ("3", "must be a list")]
    )
    def test_problems_name_candidates_that_are_no_tables(self, candidates, wrong):
        head, _, rest = TOML.partition("[[candidates]]")
        text = f"candidates = {candidates}\n{head}{rest[rest.index('[stream]') :]}"

        [problem] = problems(text)
        assert f"candidates {wrong}" in problem

    @pytest.mark.parametrize(
        ("line", "entry"),
        [
            *((line, line.split(" ")[0]) for line in TOML.split("\n")[:5]),
            ("ascending = true", "ascending"),
            ('algorithm = "LogisticRegression"', "algorithm"),
            ('valid_from = "at"', "valid_from"),
        ],
    )
    def test_problems_name_what_is_missing(self, line, entry):
        """An entry that every use case has, and every table of its kind."""
        [problem] = problems_of(line, "")

        assert f"{entry} is missing" in problem

    def test_problems_name_the_line_of_what_is_no_toml(self):
        [problem] = problems('a = 1\n[features\nb = "number"')

        assert "line 2" in problem


def test_algorithms_are_those_that_can_be_trained():
    """And kinds of fields are those of events."""
    assert {*get_args(declaration.Algorithm)} == {
        *(candidates.ALGORITHMS),
        declaration.MEAN,
        declaration.FOREST,
    }
    assert {*get_args(declaration.EventKind)} == {*types.KINDS}
