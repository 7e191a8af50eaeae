"""
Instances: use cases that are like another one, for another property or another event.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from propensity import folders, usecases
from propensity.audience import declared
from propensity.errors import UseCaseError
from propensity.settings import Settings
from propensity.usecases.exports import of_export, settings_of_exports
from tests.support import own_use_cases

SETTINGS = Settings(project="p", ga4_dataset="analytics_1", label_event="sign_up")
SHOP_UK = """\
like = "ga4_purchase"
currency = "GBP"

[property]
ga4_dataset = "uk-project.analytics_2"
utc_offset_hours = 1
"""


@pytest.fixture
def own(tmp_path):
    with own_use_cases.in_folder(tmp_path / "own") as folder:
        yield folder


def write(own, name: str, text: str):
    """A folder of an instance, with its file."""
    folder = own / name
    folder.mkdir()
    (folder / "usecase.toml").write_text(text)
    usecases.load.cache_clear()
    return folder


def test_an_instance_is_what_its_file_says_and_otherwise_the_use_case_it_is_like(own):
    """It reads the export of its property by its own days; another use case goes on to
    read the deployment's."""
    write(own, "shop_uk", SHOP_UK)
    shop = usecases.load("ga4_purchase")
    uk = usecases.load("shop_uk")
    settings = uk.settings(SETTINGS)

    assert uk.currency == "GBP"
    assert uk.title == f"{shop.title} (shop_uk)"
    assert uk.features == shop.features
    for name in uk.kind.statements:
        assert uk.statement(name) == shop.statement(name)
    assert settings.export == "uk-project.analytics_2"
    assert settings.property_utc_offset_hours == 1
    assert shop.settings(SETTINGS) is SETTINGS


def test_an_instance_predicts_the_event_of_its_file(own):
    """And of its file's users, whatever the settings of the deployment's property
    say; pages say so, unless the file has words of its own."""
    text = f'{SHOP_UK}\n[parameters]\nlabel_event = "lead"\nuser_column = "user_id"\n'
    write(own, "leads", text)
    write(own, "titled", f'title = "Who will call?"\n{text}')
    leads = usecases.load("leads").with_label_event(SETTINGS)

    assert leads.statement_parameters(SETTINGS)["label_event"] == "lead"
    assert leads.statement_parameters(SETTINGS)["user_column"] == "user_id"
    assert leads.title == "Who will have lead in the next 7 days? (leads)"
    assert usecases.load("titled").title == "Who will call?"


def test_an_instance_has_audiences_of_its_own_alone(own):
    shop = shutil.copytree(folders.place("ga4_purchase"), own / "shop")
    shop_uk = write(own, "shop_uk", SHOP_UK.replace("ga4_purchase", "shop"))
    (shop / "audiences").mkdir()
    (shop / "audiences" / "winback.toml").touch()
    use_case = usecases.load("shop_uk")

    assert declared.audience_names(use_case) == []
    (shop_uk / "audiences").mkdir()
    (shop_uk / "audiences" / "british.toml").touch()
    assert declared.audience_names(use_case) == ["british"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'like = "ga4_purchas"\n',
            "like: there is no use case 'ga4_purchas'. Did you mean 'ga4_purchase'?",
        ),
        (
            SHOP_UK.replace("uk-project.", "uk/"),
            "property.ga4_dataset is 'uk/analytics",
        ),
        (SHOP_UK.replace("ga4_purchase", "card_fraud"), "card_fraud does not read the"),
        (f"{SHOP_UK}zone = 1\n", "unknown entry property.zone"),
    ],
)
def test_a_wrong_instance_is_told_where(own, text, message):
    write(own, "shop_fr", SHOP_UK)
    write(own, "shop_uk", text)

    with pytest.raises(UseCaseError, match=r"^shop_uk/usecase.toml: ") as refused:
        usecases.load("shop_uk")
    assert message in refused.value.message


def test_each_export_is_named_once_with_the_use_cases_that_read_it(own):
    """Two instances of a property share its tables; one of the deployment's property
    shares those. A deployment without an export has those of its instances."""
    write(own, "shop_uk", SHOP_UK)
    write(own, "leads_uk", SHOP_UK)
    same = 'like = "ga4_purchase"\n[property]\nga4_dataset = "analytics_1"\n'
    write(own, "leads", same)
    exports = settings_of_exports(SETTINGS)
    uk = usecases.load("shop_uk").settings(SETTINGS)
    without = settings_of_exports(replace(SETTINGS, ga4_dataset=""))
    names = {use_case.name for use_case in of_export(SETTINGS)}
    theirs = {use_case.name for use_case in of_export(uk)}

    of_property = "uk-project.analytics_2"
    assert [each.export for each in exports] == ["p.analytics_1", of_property]
    assert [each.export_suffix for each in exports] == ["", "_analytics_2"]
    assert theirs == {"shop_uk", "leads_uk"}
    assert "leads" in names
    assert "shop_uk" not in names
    assert of_property in [each.export for each in without]


def test_two_exports_of_one_name_are_refused(own):
    """Their digests would be one table."""
    write(own, "shop_uk", SHOP_UK)
    write(own, "shop_us", SHOP_UK.replace("uk-project", "us-project"))
    uk = usecases.load("shop_uk").settings(SETTINGS)

    for listed in (of_export, settings_of_exports):
        with pytest.raises(UseCaseError, match=r"us-project.analytics_2.*same"):
            listed(uk)
