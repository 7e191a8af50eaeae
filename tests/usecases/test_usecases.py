"""
Use cases, specified: a folder each, and nothing elsewhere that names one.
"""

from __future__ import annotations

import re
from datetime import date
from importlib import resources

import pytest

from propensity import usecases
from propensity.errors import RequestError, UseCaseError
from propensity.settings import Settings
from propensity.timeframe import Timeframe
from propensity.usecases import Candidate, UseCase
from tests.usecases.test_declaration import TOML


def parsed() -> UseCase:
    return usecases.parse("toy", TOML)


class TestLoad:
    def test_knows_what_the_deploy_holds(self):
        """The names are those of the folders with a usecase.toml."""
        assert "ga4_purchase" in usecases.names()

    @pytest.mark.parametrize("name", usecases.names())
    def test_reads_each_use_case(self, name):
        """Every folder describes a use case, with the statements it needs."""
        use_case = usecases.load(name)

        assert use_case.name == name
        assert use_case.features
        of_users = ("features", "labels", "days")
        of_events = ("event_training_rows", "event_evaluation_rows")
        for statement in of_events if use_case.scores_events else of_users:
            assert use_case.statement(statement).startswith("--")

    @pytest.mark.parametrize(
        "name", ["", "no_such_case", "../secrets", "ga4_purchase/", "GA4_PURCHASE"]
    )
    def test_refuses_a_name_that_there_is_not(self, name):
        """An unknown use case is the caller's mistake, and the known ones are told."""
        with pytest.raises(RequestError, match="ga4_purchase") as refused:
            usecases.load(name)

        assert refused.value.field == "use_case"

    @pytest.mark.parametrize("statement", usecases.STATEMENTS)
    def test_refuses_a_use_case_without_a_statement(self, statement, monkeypatch):
        """What every use case of users has is missed when it is loaded, by its file."""
        use_case = usecases.load("ga4_purchase")
        has = UseCase.has_statement
        monkeypatch.setattr(
            UseCase,
            "has_statement",
            lambda self, name: name != statement and has(self, name),
        )

        [missing] = usecases.missing_statements(use_case)
        assert missing.located("ga4_purchase").startswith(
            f"propensity/usecases/ga4_purchase/{statement}.sql:1: is missing"
        )
        with pytest.raises(UseCaseError, match=rf"{statement}\.sql:1: is missing"):
            usecases.load.__wrapped__("ga4_purchase")

    def test_wants_no_statement_where_a_row_is_an_event(self):
        """Its features are the event's own fields."""
        assert usecases.missing_statements(usecases.load("card_fraud")) == []

    def test_cuts_a_long_name_in_its_message(self):
        """A name of a megabyte is not sent back."""
        with pytest.raises(RequestError) as refused:
            usecases.load("x" * 10_000)

        assert len(refused.value.message) < 500


class TestParse:
    def test_reads_what_is_particular(self):
        """Spans, features in their order, baseline and candidates."""
        use_case = parsed()

        assert list(use_case.features) == ["recency_days", "country"]
        assert use_case.candidates[0] == Candidate(
            "lr", "LogisticRegression", {"C": 0.5}
        )
        assert use_case.baseline.ascending
        assert (use_case.lookback_days, use_case.horizon_days, use_case.threshold) == (
            60,
            7,
            0.5,
        )

    def test_names_every_mistake_by_file_and_line(self):
        """What is wrong is refused when it is read, not in training."""
        text = TOML.replace("threshold = 0.5", "threshold = 1.5").replace(
            '"category"', '"text"'
        )
        place = r"propensity/usecases/toy/usecase\.toml"

        with pytest.raises(UseCaseError, match=rf"(?s){place}:6: .*{place}:20: "):
            usecases.parse("toy", text)


class TestStatement:
    def test_takes_in_the_use_case_s_own(self):
        """A shared statement includes features.sql and labels.sql of the use case."""
        text = usecases.load("ga4_purchase").statement("training_rows")

        assert "-- include:" not in text
        assert usecases.load("ga4_purchase").statement("features").strip() in text
        assert usecases.load("ga4_purchase").statement("labels").strip() in text

    def test_says_which_statement_there_is_not(self):
        """A use case that lacks a statement is named by the file that is missing."""
        with pytest.raises(UseCaseError, match=r"no_such\.sql"):
            usecases.load("ga4_purchase").statement("no_such")

    @pytest.mark.parametrize("name", usecases.names())
    def test_takes_only_parameters_that_a_run_gives(self, name):
        """Every @name in a statement is given by the window or by the run."""
        use_case = usecases.load(name)
        if use_case.scores_events:
            parameters = {"use_case", "as_of", "since", "truth_delay_days"}
            for statement, more in (
                ("event_training_rows", {"maximum_rows"}),
                ("event_evaluation_rows", {"days", "amount"}),
            ):
                sql = re.sub("--.*", "", use_case.statement(statement))

                assert set(re.findall(r"@(\w+)", sql)) == parameters | more
            return
        parameters = set(use_case.window(Settings(project="p"), [date(2026, 3, 1)]))
        for statement, more in (
            ("features", set()),
            ("labels", set()),
            ("training_rows", {"maximum_rows"}),
            ("evaluation_rows", {"use_case", "prediction_as_of"}),
        ):
            sql = re.sub("--.*", "", use_case.statement(statement))

            assert set(re.findall(r"@(\w+)", sql)) <= parameters | more


class TestWindow:
    def test_bounds_the_shards_by_one_day_on_each_side(self):
        """A shop's local date differs from UTC's by one day at most: features of
        [as_of - 60, as_of) may lie in the shards from as_of - 61 to as_of, and labels
        of [as_of, as_of + 7) in those from as_of - 1 to as_of + 7."""
        window = parsed().window(Settings(project="p"), [date(2026, 3, 2)])

        assert window["first_suffix"] == "20251231"
        assert window["last_suffix"] == "20260302"
        assert window["first_label_suffix"] == "20260301"
        assert window["last_label_suffix"] == "20260309"

    def test_spans_all_as_of_dates(self):
        """Several snapshots are read in one scan, from the oldest to the newest."""
        as_ofs = [date(2026, 3, 9), date(2026, 3, 2)]
        window = parsed().window(Settings(project="p"), as_ofs)

        assert window["as_ofs"] == sorted(as_ofs)
        assert window["first_suffix"] == "20251231"
        assert window["last_suffix"] == "20260309"

    @pytest.mark.parametrize(
        "chosen",
        [{}, {"user_column": "user_id", "label_event": "sign_up"}],
        ids=["by default", "by settings"],
    )
    def test_has_the_use_case_s_own_parameters(self, chosen):
        """A deployment may choose another user column or label event by a setting."""
        window = parsed().window(Settings(project="p", **chosen), [date(2026, 3, 2)])

        defaults = {"user_column": "user_pseudo_id", "label_event": "purchase"}
        assert {name: window[name] for name in defaults} == {**defaults, **chosen}

    def test_says_what_a_setting_has_it_predict(self):
        """Pages say of nobody who signs up that they buy."""
        own = parsed()
        same = Settings(project="p", label_event=own.parameters["label_event"])
        worded = own.worded(Settings(project="p", label_event="sign_up"))

        assert own.worded(Settings(project="p")) == own.worded(same) == own
        assert worded.title == "sign_up within the horizon"
        assert worded.outcome == "have the event sign_up"

    def test_measures_time_by_the_use_case_and_the_settings(self):
        """Lookback and horizon are the use case's, the wait is the deployment's."""
        timeframe = parsed().timeframe(Settings(project="p"))

        assert timeframe == Timeframe(lookback_days=60, horizon_days=7, settle_days=3)


class TestModel:
    def test_is_optional(self):
        """A use case without a model.py has none, and takes the defaults."""
        folder = resources.files(usecases) / "ga4_purchase"

        assert not (folder / "model.py").is_file()
        assert usecases.load("ga4_purchase").model is None
