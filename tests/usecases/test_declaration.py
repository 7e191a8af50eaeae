"""
What a usecase.toml may say, specified: every mistake is found, and its entry named.
"""

from __future__ import annotations

import pytest

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
    ('title = "t"', "title = 3", "title is a text, not 3"),
    ('title = "t"', 'title = "t"\ntitel = "t"', "titel is unknown; known are title, "),
    ("lookback_days = 60", "lookback_days = 0", "lookback_days is a whole number of"),
    ("horizon_days = 7", "horizon_days = true", "horizon_days is a whole number of"),
    ("threshold = 0.5", "threshold = 1.5", "threshold is a probability, not 1.5"),
    ("threshold = 0.5", "threshold = -0.5", "threshold is a probability, not -0.5"),
    ("threshold = 0.5", "threshold = 0.5\nspan = 3", "span is a text, not 3"),
    ('outcome = "o"', 'outcome = " "', "outcome is a text, not ' '"),
    ("horizon_days = 7", "horizon_days = 3651", "horizon_days is a whole number of"),
    ("threshold = 0.5", 'threshold = 0.5\nbudget = "0%"', "budget is a number, as"),
    ('label_event = "purchase"', "label_event = 0.5", "parameters.label_event is a te"),
    ('label_event = "purchase"', "horizon_days = 30", "parameters.horizon_days: every"),
    ('label_event = "purchase"', '"a b" = "x"', "parameters can have no 'a b': names"),
    ('coupon = "STRING"', 'coupon = "TEXT"', "event_params.coupon is one of STRING"),
    ('coupon = "STRING"', '"cou\'pon" = "STRING"', "event_params can have no \"cou'p"),
    ('plan = "STRING"', '2nd = "STRING"', "user_properties can have no '2nd': names"),
    ('country = "category"', 'country = "text"', "features.country is one of number"),
    *(
        ('country = "category"', f'{name} = "number"', f"features.{name}: training has")
        for name in ("Label", "weight", "user_id", "sampled_by", "truth_time")
    ),
    ('country = "category"', '"a-b" = "number"', "features can have no 'a-b': names"),
    ('feature = "recency_days"', 'feature = "country"', "baseline.feature: country is"),
    ("ascending = true", 'ascending = "yes"', "baseline.ascending is true or false"),
    ('"LogisticRegression"', '"XGBoost"', "candidates[1].algorithm is one of Logistic"),
    (
        '"ExtraTreesClassifier"',
        '"HalfSpaceTrees"',
        "candidates: trees is of HalfSp",
    ),
    ('name = "trees"', 'name = "lr"', "candidates: two are named lr"),
    ('name = "trees"', 'name = "trees"\nnam = "t"', "candidates[2].nam is unknown"),
    *(
        ('of = ["lr", "trees"]', mean, "candidates: average has one parameter, of, a")
        for mean in ('of = ["lr", "tree"]', 'of = ["lr", "lr"]', 'of = ["lr"]\nC = 1')
    ),
    ('of = ["lr", "trees"]', "of = []", "candidates: average has one parameter, of, a"),
    ("[stream]", '[stream]\ncurrency = "euro"', "stream.currency is like EUR, not"),
    ("[stream]", "[stream]\nscored = [1]", "stream.scored is a list of texts"),
    ("[events.spin]", '[events."a spin"]', "events can have no 'a spin': names are"),
    ('user_id = "customer"', 'user_id = "a b"', "sources.loyalty.user_id is a column"),
    ('plans = ["ends"]', 'plans = "ends"', "sources.loyalty.plans is a list of texts"),
    ('events = ["spin"]', 'events = "spin"', "stream.events is a list of texts"),
    ("[stream]", '[stream]\namount = "country"', "stream.amount: country is not a num"),
    ('stake = "amount"', 'stake = "money"', "events.spin.stake is one of text, "),
    ('"crm.loyalty"', '"loyalty"', "sources.loyalty.table is project.dataset"),
    (
        '"crm.loyalty"',
        '"crm.events_*"',
        "sources.loyalty.table is project",
    ),
    (
        'valid_from = "at"',
        'valid_from = "at it"',
        "loyalty.valid_from is a column",
    ),
    ('points = "INT64"', 'points = "JSON"', "sources.loyalty.columns.points is one of"),
    ('plans = ["ends"]', 'plans = ["end"]', "sources.loyalty.plans: end is not among"),
    ("[sources.loyalty.columns]", "[parameters.no]", "loyalty.columns is missing"),
]


def problems_of(old: str, new: str) -> list[str]:
    """The problems where a line, or what it ends with, is replaced."""
    assert TOML.count(f"{old}\n") == 1
    return declaration.problems(TOML.replace(f"{old}\n", f"{new}\n"))


class TestProblems:
    def test_are_none_where_all_is_right(self):
        """Trees that need no truth are right where events are scored, and only there:
        of users they would know nothing."""
        text = TOML.replace("ExtraTreesClassifier", "HalfSpaceTrees")
        scoring = text.replace("[stream]", '[stream]\nscored = ["spin"]')

        assert declaration.problems(TOML) == declaration.problems(scoring) == []

    @pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
    def test_name_the_entry(self, old, new, message):
        """Each mistake is told, and where it stands."""
        problems = problems_of(old, new)

        assert any(message in problem for problem in problems), problems

    def test_are_found_all_at_once(self):
        """A second mistake is not hidden by the first, and none makes another."""
        text = TOML.replace('"category"', '"text"').replace("= 60", "= 0")

        assert len(declaration.problems(text)) == 2

    @pytest.mark.parametrize("name", ["ga_events", "ma_drift", "stream_events"])
    def test_name_a_source_that_is_a_table_of_the_deployment(self, name):
        text = TOML.replace("[sources.loyalty", f"[sources.{name}")

        assert declaration.problems(text) == [
            f"sources.{name}: a deployment has a table of this name"
        ]

    @pytest.mark.parametrize("candidates", ["[]", "3"])
    def test_name_candidates_that_are_no_tables(self, candidates):
        head, _, rest = TOML.partition("[[candidates]]")
        text = f"candidates = {candidates}\n{head}{rest[rest.index('[stream]') :]}"

        assert declaration.problems(text) == [
            "candidates are tables, one or more: [[candidates]]"
        ]

    @pytest.mark.parametrize(
        ("line", "entry"),
        [
            *((line, line.split(" ")[0]) for line in TOML.split("\n")[:5]),
            ("ascending = true", "baseline.ascending"),
            ('algorithm = "LogisticRegression"', "candidates[1].algorithm"),
            ('valid_from = "at"', "sources.loyalty.valid_from"),
        ],
    )
    def test_name_what_is_missing(self, line, entry):
        """An entry that every use case has, and every table of its kind."""
        assert problems_of(line, "") == [f"{entry} is missing"]

    @pytest.mark.parametrize("table", ["features", "baseline", "parameters", "stream"])
    def test_name_what_is_no_table(self, table):
        """A text in the place of a table breaks nothing else."""
        text = TOML.replace(f"[{table}]", "[title_of_nothing]")

        found = declaration.problems(f'{table} = "x"\n{text}')
        assert f"{table} is a table, not 'x'" in found

    def test_name_the_line_of_what_is_no_toml(self):
        [problem] = declaration.problems('a = 1\n[features\nb = "number"')

        assert problem.startswith("is not valid TOML: ")
        assert "line 2" in problem


def test_algorithms_are_those_that_can_be_trained():
    """And kinds of fields are those of events."""
    assert {*declaration.ALGORITHMS} == {
        *(candidates.ALGORITHMS),
        declaration.MEAN,
        declaration.FOREST,
    }
    assert {*declaration.EVENT_KINDS} == {*types.KINDS}
