"""Settings: read once, whole, frozen, and refused where anything is odd."""

from __future__ import annotations

from dataclasses import fields

import pytest

from propensity.errors import SettingsError
from propensity.settings import MOST, Budget, Settings, variable_of


def read(**variables: str) -> Settings:
    """Settings of an environment that has a project and these variables."""
    return Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p", **variables})


def test_a_project_is_all_that_is_needed(monkeypatch):
    """Of the process's own environment, too."""
    assert read() == Settings(project="p")
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT is not set"):
        Settings.from_environment({})
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "shop-1")
    assert Settings.from_environment().project == "shop-1"


@pytest.mark.parametrize(
    ("variable", "text", "setting"),
    [
        ("PROPENSITY_DATASET", "   ", "propensity"),
        ("PROPENSITY_ALERT_REVIEW_COST", "1.5", 1.5),
        ("PROPENSITY_BUDGET", "7.50 %", "7.5%"),
        # Events are named in any language.
        ("PROPENSITY_LABEL_EVENT", "inscri\u00e7\u00e3o", None),
        ("BIGQUERY_EMULATOR_HOST", "http://localhost:90", None),
    ],
)
def test_a_text_becomes_its_setting(variable, text, setting):
    """Blanks are as a YAML file or a shell leaves them: an empty one is not set."""
    [name] = [one.name for one in fields(Settings) if variable_of(one.name) == variable]

    assert getattr(read(**{variable: text}), name) == (
        text if setting is None else setting
    )


@pytest.mark.parametrize(
    ("variable", "text", "wanted"),
    [
        ("PROPENSITY_DATASET", "d`; DROP TABLE x", "a dataset"),
        ("PROPENSITY_USER_COLUMN", "email", "one of user_pseudo_id"),
        ("PROPENSITY_REFRESH_S", "three", "a whole number from 1 to 86400"),
        ("PROPENSITY_REFRESH_S", "86401", "a whole number from 1 to 86400"),
        ("PROPENSITY_BUDGET", "120%", "a share above 0%"),
        ("PROPENSITY_ALERT_REVIEW_COST", "1,5", "a number from 0 to 1000000"),
        ("STORAGE_EMULATOR_HOST", "http://user:word@127.0.0.1:1", "an address"),
    ],
)
def test_a_malformed_value_is_refused(variable, text, wanted):
    """The message has the variable, the value, and what it must be."""
    with pytest.raises(SettingsError, match=wanted) as refused:
        read(**{variable: text})

    assert refused.value.field == variable
    assert repr(text) in refused.value.message


def test_an_unknown_variable_is_refused():
    """A misspelt setting stops the function; the one that it resembles is named."""
    with pytest.raises(
        SettingsError, match=r"Did you mean PROPENSITY_BUCKET\?"
    ) as refused:
        read(PROPENSITY_BUCKIT="b")

    assert refused.value.field == "PROPENSITY_BUCKIT"


def test_variables_of_others_are_ignored():
    """The platform sets many; the folder of real data and local ports are no setting
    of a function either. What only resembles one of these is unknown."""
    others = {"PROPENSITY_PORT_BASE": "8081", "K_SERVICE": "f", "PORT": "8080"}

    assert read(PROPENSITY_DATA="/data", **others) == read()
    with pytest.raises(SettingsError, match="PROPENSITY_DATA_"):
        read(PROPENSITY_DATA_="1")


def test_a_secret_is_not_repeated():
    with pytest.raises(SettingsError, match="32 characters") as refused:
        read(PROPENSITY_SUPPRESSION_KEY="sesame")

    assert "sesame" not in refused.value.message
    assert "sesame" not in repr(Settings(project="p", suppression_key="sesame"))


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        (str(MOST), Budget(count=MOST)),
        ("0.5%", Budget(share=0.005)),
    ],
)
def test_a_percent_sign_makes_a_budget_a_share(text, budget):
    assert Budget.parse(text) == Budget.parse(text.replace("%", " %")) == budget
    assert str(budget) == text


def test_a_budget_is_a_number_or_a_share():
    """A thousand a week are three thousand of three weeks; nobody is selected twice."""
    assert Budget(count=1000).rows(9_000, dates=3) == 3_000
    assert Budget(count=1000).rows(12) == 12
    assert Budget(share=0.1).rows(25, dates=3) == pytest.approx(2.5)
