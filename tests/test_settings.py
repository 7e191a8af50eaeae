"""Settings: read once, whole, frozen, and refused where anything is odd."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from propensity.errors import SettingsError
from propensity.settings import ENRICHED, MOST, Budget, Settings, variable_of


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
        ("PROPENSITY_GA4_DATASET", "their-project.analytics_1", None),
        ("PROPENSITY_USER_COLUMN", "user_id", "user_id"),
        ("PROPENSITY_ALERT_REVIEW_COST", "1.5", 1.5),
        ("PROPENSITY_BUDGET", "1000", "1000"),
        ("PROPENSITY_BUDGET", "7.50 %", "7.5%"),
        # Events are named in any language.
        ("PROPENSITY_LABEL_EVENT", "inscri\u00e7\u00e3o", None),
        ("BIGQUERY_EMULATOR_HOST", "http://localhost:90", None),
        ("PUBSUB_EMULATOR_HOST", "[::1]:8432", None),
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
        ("GOOGLE_CLOUD_PROJECT", "My Project", "a project id"),
        ("PROPENSITY_BUCKET", "gs://bucket", "a name of 3"),
        ("PROPENSITY_DATASET", "d`; DROP TABLE x", "a dataset"),
        ("PROPENSITY_USE_CASE", "../secrets", "a use case"),
        ("PROPENSITY_USER_COLUMN", "email", "one of user_pseudo_id"),
        ("PROPENSITY_LABEL_EVENT", "purchase' OR 1=1", "the name of an event"),
        *(
            ("PROPENSITY_REFRESH_S", text, "a whole number from 1 to 86400")
            for text in ("three", "0", "3.5", "86401")
        ),
        ("PROPENSITY_BUDGET", "120%", "a share above 0%"),
        ("PROPENSITY_ALERT_REVIEW_COST", "1,5", "a number from 0 to 1000000"),
        ("STORAGE_EMULATOR_HOST", "http://user:word@127.0.0.1:1", "an address"),
        ("PUBSUB_EMULATOR_HOST", "127.0.0.1", "a host with a port"),
    ],
)
def test_a_malformed_value_is_refused(variable, text, wanted):
    """The message has the variable, the value, and what it must be."""
    with pytest.raises(SettingsError, match=wanted) as refused:
        read(**{variable: text})

    assert refused.value.field == variable
    assert repr(text) in refused.value.message


@pytest.mark.parametrize("name", [one.name for one in fields(Settings)])
def test_a_malformed_value_is_answered_without_a_pattern(name):
    """Whatever the setting: a person reads what can be set instead, or an example."""
    with pytest.raises(SettingsError) as refused:
        read(**{variable_of(name): "☃ !"})

    assert variable_of(name) in refused.value.problem
    assert not re.search(r"\[a-z|\\Z|\.\*|Expected|must match", refused.value.message)


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


def test_a_missing_setting_is_named():
    assert read(PROPENSITY_BUCKET="my-bucket").required("bucket") == "my-bucket"
    with pytest.raises(SettingsError, match="PROPENSITY_BUCKET is not set"):
        read().required("bucket")


def test_names_of_topics_have_the_prefix_of_the_deployment():
    settings = Settings(project="p", topic_prefix="shop")

    assert settings.prefixed(ENRICHED) == "shop-enriched"


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1", Budget(count=1)),
        (str(MOST), Budget(count=MOST)),
        ("5%", Budget(share=0.05)),
        ("0.5%", Budget(share=0.005)),
        ("100%", Budget(share=1.0)),
    ],
)
def test_a_percent_sign_makes_a_budget_a_share(text, budget):
    assert Budget.parse(text) == Budget.parse(text.replace("%", " %")) == budget
    assert str(budget) == text


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1.5", "0%", "0.0%", "101%", "%", "5%%", "0.1", "many", "1e3", "٣",
     str(MOST + 1)],
)  # fmt: skip
def test_a_budget_that_is_neither_number_nor_share_is_refused(text):
    """The message says what is allowed."""
    with pytest.raises(ValueError, match=r"use a number .* or a share"):
        Budget.parse(text)


def test_a_budget_is_a_number_or_a_share():
    """A thousand a week are three thousand of three weeks; nobody is selected twice."""
    assert Budget(count=1000).rows(9_000, dates=3) == 3_000
    assert Budget(count=1000).rows(12) == 12
    assert Budget(share=0.1).rows(25, dates=3) == pytest.approx(2.5)
