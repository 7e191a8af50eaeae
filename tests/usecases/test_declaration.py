"""
What a usecase.toml may say, specified: every mistake is found, with its line.
"""

from __future__ import annotations

from datetime import date

import pytest

from propensity import usecases
from propensity.events import types
from propensity.learning import candidates
from propensity.settings import Settings
from propensity.usecases import declaration
from propensity.usecases.declaration import Problem

TOML = """\
title = "t"
outcome = "o"
entity = "user_id"
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
"""

# A line of TOML, what stands there instead, and what is said of it.
MISTAKES = [
    ('title = "t"', "title = 3", "title is a text"),
    ('title = "t"', 'titel = "t"', "titel is unknown"),
    ("lookback_days = 60", "lookback_days = 0", "whole number of days from 1"),
    ("horizon_days = 7", "horizon_days = true", "whole number of days from 1"),
    ("threshold = 0.5", "threshold = 1.5", "threshold is a probability"),
    ("threshold = 0.5", 'threshold = 0.5\nbudget = "0%"', "budget is a number, as"),
    ('label_event = "purchase"', "label_event = 0.5", "a text or a whole number"),
    ('label_event = "purchase"', 'as_ofs = "x"', "every run gives @as_ofs"),
    (
        'label_event = "purchase"',
        '"label event" = "x"',
        "can name no parameter of a statement",
    ),
    ('coupon = "STRING"', 'coupon = "TEXT"', "coupon is one of STRING, INT64"),
    ('coupon = "STRING"', '"cou\'pon" = "STRING"', "can name no name in the export"),
    ('plan = "STRING"', '2nd = "STRING"', "can name no name in the export"),
    ('country = "category"', 'country = "text"', "country is one of number, category"),
    *(
        ('country = "category"', f'{name} = "number"', f"{name} can be no feature")
        for name in ("Label", "weight", "user_id", "sampled_by", "truth_time")
    ),
    ('country = "category"', '"a-b" = "number"', "can name no column"),
    ('feature = "recency_days"', 'feature = "country"', "not a numeric feature"),
    ("ascending = true", 'ascending = "yes"', "true or false"),
    ("ascending = true", "ascending = true\nlowest = 1", "lowest is unknown"),
    (
        'algorithm = "LogisticRegression"',
        'algorithm = "XGBoost"',
        "algorithm is one of",
    ),
    (
        'algorithm = "ExtraTreesClassifier"',
        'algorithm = "HalfSpaceTrees"',
        "HalfSpaceTrees scores events",
    ),
    ('name = "trees"', 'name = "lr"', "each differently"),
    ('name = "trees"', 'name = "trees"\nnam = "t"', "nam is unknown"),
    ('of = ["lr", "trees"]', 'of = ["lr", "tree"]', "of names candidates before it"),
    ('of = ["lr", "trees"]', 'of = ["lr", "lr"]', "each once"),
    ('of = ["lr", "trees"]', 'of = ["lr"]\nC = 1', "one parameter, the list"),
    ('events = ["spin"]', 'events = "spin"', "a list of texts"),
    ('events = ["spin"]', 'takes = ["spin"]', "takes is unknown"),
    (
        'events = ["spin"]',
        'events = ["spin"]\namount = "country"',
        "amount country is not a numeric feature",
    ),
    ('events = ["spin"]', 'events = ["spin"]\ncurrency = "EUR"', "of the amount"),
    ('stake = "amount"', 'stake = "money"', "stake is one of text, "),
]


def problems_of(old: str, new: str) -> list[Problem]:
    """The problems where a line is replaced."""
    assert TOML.count(f"{old}\n") == 1
    return declaration.problems(TOML.replace(f"{old}\n", f"{new}\n"))


class TestProblems:
    def test_are_none_where_all_is_right(self):
        """Neither here nor in any use case of the project."""
        assert declaration.problems(TOML) == []

    @pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
    def test_name_the_line(self, old, new, message):
        """Each mistake is told, and where it stands."""
        place = TOML[: TOML.index(f"{old}\n")].count("\n") + 1 + new.count("\n")
        problems = problems_of(old, new)

        assert any(
            message in problem.message
            and (problem.file, problem.line) == ("usecase.toml", place)
            for problem in problems
        ), problems

    def test_are_found_all_at_once(self):
        """A second mistake is not hidden by the first."""
        text = TOML.replace('"category"', '"text"').replace("= 60", "= 0")

        assert [problem.line for problem in declaration.problems(text)] == [4, 20]

    @pytest.mark.parametrize(
        ("line", "key"),
        [
            *((line, line.split(" ")[0]) for line in TOML.split("\n")[:6]),
            ("ascending = true", "ascending"),
            ('algorithm = "LogisticRegression"', "algorithm"),
            ('name = "lr"', "name"),
        ],
    )
    def test_name_what_is_missing(self, line, key):
        """An entry that every use case has, and every table of its kind."""
        assert f"{key} is missing" in str(problems_of(line, ""))

    @pytest.mark.parametrize("table", ["features", "baseline", "parameters", "stream"])
    def test_name_what_is_no_table(self, table):
        """A text in the place of a table breaks nothing else."""
        text = TOML.replace(f"[{table}]", "[title_of_nothing]")

        found = declaration.problems(f'{table} = "x"\n{text}')
        assert any(one.message.startswith(f"{table} is a table") for one in found)

    @pytest.mark.parametrize(
        ("text", "line"),
        [("title = ", 1), ('a = 1\n[features\nb = "number"', 2), ("a = 1\na = 2\n", 2)],
    )
    def test_name_the_line_of_what_is_no_toml(self, text, line):
        """As the parser says it."""
        [problem] = declaration.problems(text)

        assert problem.line == line
        assert "is not valid TOML" in problem.message

    def test_take_trees_that_need_no_truth_where_events_are_scored(self):
        """And nowhere else: of users they would know nothing."""
        text = TOML.replace("ExtraTreesClassifier", "HalfSpaceTrees")
        scoring = text.replace("[stream]", '[stream]\nscored = ["spin"]')

        assert declaration.problems(scoring) == []


class TestLists:
    """What a use case may name is what the rest of the package knows."""

    def test_algorithms_are_those_that_can_be_trained(self):
        """No more and no fewer."""
        assert {*declaration.ALGORITHMS} == {
            *candidates.ALGORITHMS,
            declaration.MEAN,
            declaration.FOREST,
        }

    def test_kinds_of_fields_are_those_of_events(self):
        """No more and no fewer."""
        assert {*declaration.EVENT_KINDS} == {*types.KINDS}

    def test_given_parameters_are_those_of_every_run(self):
        """A use case's own parameter can hide none of them."""
        use_case = usecases.load("ga4_purchase")
        window = use_case.window(Settings(project="p"), [date(2026, 3, 2)])

        assert {*window} - {*use_case.parameters} <= declaration.RUN_PARAMETERS
