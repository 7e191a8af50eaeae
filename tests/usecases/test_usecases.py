"""Use cases: a folder each, and nothing elsewhere that names one."""

from __future__ import annotations

import pickle
import shutil
from datetime import date

import pytest

from propensity import folders, usecases
from propensity.errors import RequestError, UseCaseError
from propensity.settings import Settings
from propensity.usecases import UseCase
from tests import own_use_cases
from tests.usecases.test_declaration import TOML

SETTINGS = Settings(project="p")
DAY = date(2026, 3, 2)


@pytest.fixture
def toy() -> UseCase:
    return usecases.parse("toy", TOML)


class TestLoad:
    @pytest.mark.parametrize("name", usecases.names())
    def test_loading_reads_each_folder(self, name):
        """Every one describes a use case, with the statements it needs."""
        use_case = usecases.load(name)

        of_events = ("event_training_rows", "event_evaluation_rows")
        for one in of_events if use_case.scores_events else usecases.STATEMENTS:
            assert use_case.statement(one).startswith("--")
        with pytest.raises(UseCaseError, match=r"no_such\.sql"):
            use_case.statement("no_such")

    @pytest.mark.parametrize(
        "name", ["", "../secrets", "ga4_purchase/", "GA4_PURCHASE", "x" * 10_000]
    )
    def test_loading_refuses_a_name_that_there_is_not(self, name):
        """An unknown use case is the caller's mistake, and the known ones are named."""
        with pytest.raises(RequestError, match="ga4_purchase") as refused:
            usecases.load(name)
        assert refused.value.field == "use_case"
        assert len(refused.value.message) < 500

    def test_loading_refuses_a_use_case_without_a_statement(self, monkeypatch):
        """What every use case of users has is missed when it is loaded, by its file."""
        has = UseCase.has_statement
        monkeypatch.setattr(
            UseCase,
            "has_statement",
            lambda self, name: name != "labels" and has(self, name),
        )

        with pytest.raises(UseCaseError, match=r"ga4_purchase/labels\.sql is missing"):
            usecases.load.__wrapped__("ga4_purchase")


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
        found = usecases.load("repeat_purchase")

        assert usecases.names() == sorted([*shipped, "repeat_purchase"])
        assert found.statement("labels") == usecases.load("ga4_purchase").statement(
            "labels"
        )
        stored = b"cpropensity.usecases.repeat_purchase.model\ndoubled\n."
        assert pickle.loads(stored) is found.model.doubled

    @pytest.mark.parametrize("name", ["ga4_purchase", "declaration"])
    def test_a_name_in_both_places_is_refused(self, own, name):
        """Of a use case that ships, or of a module of the package."""
        shutil.copytree(folders.place("ga4_purchase"), own / name)

        with pytest.raises(UseCaseError, match=f"^{name} is the name of .* rename"):
            usecases.names()

    def test_a_setting_that_points_nowhere_is_named(self, own):
        own.rmdir()

        with pytest.raises(UseCaseError, match=r"PROPENSITY_USE_CASES is '.*/own'"):
            usecases.names()


def test_mistakes_are_named_by_file_and_entry():
    """What is wrong is refused when it is read, not in training."""
    text = TOML.replace("= 0.5\n\n", "= 1.5\n\n", 1)

    with pytest.raises(UseCaseError, match=r"^toy/usecase\.toml: threshold is .*$"):
        usecases.parse("toy", text)


class TestWindow:
    def test_the_window_bounds_the_shards_by_one_day_on_each_side(self, toy):
        """A shop's local date differs from UTC's by one day at most: features of
        [as_of - 60, as_of) may lie in the shards from as_of - 61 to as_of, and labels
        of [as_of, as_of + 7) in those from as_of - 1 to as_of + 7."""
        window = toy.window(SETTINGS, [DAY])

        assert window["first_suffix"] == "20251231"
        assert window["last_suffix"] == "20260302"
        assert window["first_label_suffix"] == "20260301"
        assert window["last_label_suffix"] == "20260309"

    @pytest.mark.parametrize(
        "chosen", [{}, {"user_column": "user_id", "label_event": "sign_up"}]
    )
    def test_the_window_has_the_parameters_of_the_use_case_or_of_the_settings(
        self, toy, chosen
    ):
        window = toy.window(Settings(project="p", **chosen), [DAY])

        defaults = {"user_column": "user_pseudo_id", "label_event": "purchase"}
        assert {name: window[name] for name in defaults} == {**defaults, **chosen}


def test_pages_say_what_a_setting_has_it_predict(toy):
    """Of nobody who signs up that they buy."""
    same = Settings(project="p", label_event=toy.parameters["label_event"])
    titled = toy.titled(Settings(project="p", label_event="sign_up"))

    assert toy.titled(SETTINGS) == toy.titled(same) == toy
    assert titled.title == "Who will have sign_up in the next 7 days?"
    assert titled.outcome == "have the event sign_up"
