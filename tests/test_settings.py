"""Settings: read once, whole, frozen, and refused where anything is odd."""

from __future__ import annotations

import pytest

from propensity.errors import SettingsError
from propensity.settings import Settings


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


def test_a_text_becomes_its_setting():
    """Blanks are as a YAML file or a shell leaves them: an empty one is not set."""
    settings = read(
        PROPENSITY_DATASET="   ",
        PROPENSITY_ALERT_REVIEW_COST="1.5",
        PROPENSITY_BUDGET="7.50 %",
        PROPENSITY_LABEL_EVENT="inscri\u00e7\u00e3o",
    )

    assert settings.dataset == "propensity"
    assert settings.alert_review_cost == 1.5
    assert settings.budget == "7.5%"
    assert settings.label_event == "inscri\u00e7\u00e3o"


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
    with pytest.raises(SettingsError, match=r"Did you mean PROPENSITY_BUCKET\?"):
        read(PROPENSITY_BUCKIT="b")


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
