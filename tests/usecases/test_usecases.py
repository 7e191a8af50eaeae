"""
Use cases: a folder each, and nothing elsewhere that names one; and what a usecase.toml
may say: a mistake is found, and its entry named.
"""

from __future__ import annotations

import pickle
import shutil

import pytest

from propensity import folders, usecases
from propensity.errors import UseCaseError
from tests.support import own_use_cases
from tests.support.own_use_cases import TOML

# A line of TOML, or its end; what stands there instead; and what is said of it.
MISTAKES = r"""
title = "t" | title = 3 | title must be a text; it is 3
title = "t" | title = "t"\ntitel = "t" | unknown entry titel. Did you mean 'title'?
lookback_days = 60 | lookback_days = 0 | lookback_days is 0; it must be 1 or more
horizon_days = 7 | horizon_days = 91\nstride_days = 1 | of 91 days; use 2 or more
threshold = 0.5 | threshold = 0.5\nbudget = "0%" | budget is '0%': use a number
label_event = "purchase" | label_event = 0.5 | label_event must be a whole number or a
coupon = "STRING" | coupon = "TEXT" | no TEXT. Use one of INT64, NUMERIC, STRING
coupon = "STRING" | "cou'pon" = "STRING" | event_params.cou'pon is not a valid name
country = "category" | country = "text" | there is no text. Use one of category, number
country = "category" | Label = "number" | features.Label: training has
feature = "recency_days" | feature = "country" | baseline.feature: country is
"LogisticRegression" | "XGBoost" | candidates[0].algorithm is 'XGBoost'; use
name = "trees" | name = "lr" | candidates: two are named lr
of = ["lr", "trees"] | of = ["lr", "tree"] | average needs one parameter, of
outcome = "o" | outcome = "o"\ncurrency = "euro" | is 'euro'; use three capitals
[stream] | [stream]\namount = "country" | stream.amount: country is not a num
plans = ["ends"] | plans = ["end"] | sources.loyalty.plans: end is not among
"crm.loyalty" | "crm.events_*" | sources.loyalty.table is 'crm
points = "INT64" | points = "JSON" | sources.loyalty.columns.points: there is no JSON
""".strip().splitlines()


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

    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_problems_name_the_entry(self, mistake):
        old, new, message = mistake.replace(r"\n", "\n").split(" | ")
        [problem] = problems_of(old, new)

        assert problem.startswith("toy/usecase.toml: ")
        assert message in problem

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                TOML.replace("[sources.loyalty", "[sources.ma_drift"),
                "sources.ma_drift: a deployment has a table of this name",
            ),
            (TOML.replace("ascending = true\n", ""), "ascending is missing"),
            ('a = 1\n[features\nb = "number"', "line 2"),
        ],
        ids=["a table of the deployment", "what is missing", "no TOML"],
    )
    def test_problems_name_what_is_no_entry(self, text, said):
        [problem] = problems(text)

        assert said in problem


class TestOfOnesOwn:
    @pytest.fixture
    def own(self, tmp_path):
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            yield folder

    def test_use_cases_of_ones_own_are_found_beside_those_that_ship(self, own):
        """By name, with their statements; a model of theirs can be unpickled."""
        shipped = usecases.names()
        copy = shutil.copytree(folders.place("ga4_purchase"), own / "repeat_purchase")
        (copy / "model.py").write_text("def doubled(x):\n    return 2 * x\n")
        (own / "not_one").mkdir()

        assert usecases.names() == sorted([*shipped, "repeat_purchase"])
        found = usecases.load("repeat_purchase")
        assert found.statement("labels") == usecases.load("ga4_purchase").statement(
            "labels"
        )
        stored = b"cpropensity.usecases.repeat_purchase.model\ndoubled\n."
        assert pickle.loads(stored) is found.model.doubled


@pytest.mark.parametrize("name", ["ga4_purchase", "ga4_value"])
def test_no_statement_of_a_run_reads_the_export(name):
    """Each byte of it is read once, by the digest."""
    use_case = usecases.load(name)
    for statement in (
        "training_rows", "features", "evaluation_rows", "audience_outcomes", "labels",
    ):  # fmt: skip
        assert "ga_events" not in use_case.statement(statement)
        assert "ga_user_days" in use_case.statement(statement)
