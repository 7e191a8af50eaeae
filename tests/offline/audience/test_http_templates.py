"""Templates of the HTTP destination that would name nobody, or add who is to leave."""

from __future__ import annotations

import pytest

from offline.audience.destinations.http import Http
from propensity.errors import RequestError

TEMPLATE = {"kind": "http", "name": "crm", "url": "https://crm.example.com/users"}


def opened(**changed):
    return Http(TEMPLATE | changed, poster=lambda *_: None, variables={})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"body": {"list": "{audience}"}}, "body"),
        ({"user": {"score": "{probability}"}}, "user"),
        ({"user": ""}, "user"),
        ({"user": {"{user_id}": 1}}, "user"),
        ({"remove": {"body": {"list": "{audience}"}}}, "remove"),
    ],
)
def test_a_request_names_its_users(changed, field):
    """Else a receiver hears of nobody, and the ledger says that it has accepted all."""
    with pytest.raises(RequestError, match="is missing") as refused:
        opened(**changed)

    assert refused.value.field == field


@pytest.mark.parametrize(
    "remove",
    [{}, {"method": "POST"}, {"url": TEMPLATE["url"]}, {"body": {"users": "{users}"}}],
)
def test_a_removal_is_no_addition(remove):
    """Else those who have left the audience are added again."""
    with pytest.raises(RequestError, match="the same request as an addition") as it:
        opened(remove=remove)

    assert it.value.field == "remove"


@pytest.mark.parametrize(
    "changed",
    [
        {"remove": {"method": "DELETE"}},
        {"remove": {"url": TEMPLATE["url"] + "/leave"}},
        {"remove": {}, "headers": {"X-Action": "{action}"}},
        {"remove": {}, "user": {"id": "{user_id}", "do": "{action}"}},
        {"remove": {}, "url": TEMPLATE["url"] + "/{action}"},
    ],
)
def test_a_removal_is_told_by_whatever_differs(changed):
    assert opened(**changed).actions == ("remove", "add")


def test_users_may_be_in_the_address_alone():
    assert opened(
        batch=1, body={}, url=TEMPLATE["url"] + "/{users}", method="PUT"
    ).actions == ("add",)


def test_an_answer_lists_the_rejected_somewhere():
    """Under no name there is nobody: all would be accepted."""
    with pytest.raises(RequestError, match="where the answer lists users") as refused:
        opened(answer={"rejected": ""})

    assert refused.value.field == "answer.rejected"
