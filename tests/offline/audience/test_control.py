"""The draw of control groups, specified: no audience of a group contacts its users."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from local.receiver import Receiver
from propensity.audience import declared, run
from propensity.audience.control import KEY
from propensity.audience.declared import DeclaredAudience
from propensity.audience.members import Member
from propensity.errors import ArtifactError, RequestError, UseCaseError
from propensity.tables.audiences import AUDIENCE_MEMBERS
from tests.offline.audience.conftest import (
    act,
    members_of,
    next_week,
    send,
    winback,
)

HALF = {"control": "50%", "control_group": "all"}
# Two browsers of each person, with one address.
ADDRESSES = """
SELECT
  user_id,
  CONCAT({}, SUBSTR(user_id, 3), '@example.com') AS email
FROM ma_predictions_history
WHERE as_of = @as_of
"""
SPELLED = "IF(user_id < 'u1', ' P', 'p')"


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Declare an audience of a use case."""
    monkeypatch.setattr(declared, "folder_of", lambda of: tmp_path / "files" / of.name)

    def write(use_case: str, name: str, text: str) -> None:
        folder = tmp_path / "files" / use_case
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text(
            f"destination = 'bucket'\ntop = 5\ncontrol_group = 'all'\n{text}"
        )

    return write


def named(name: str, **changed) -> DeclaredAudience:
    """Return an audience of another name."""
    return structs.replace(winback(**changed), name=name)


def refusal(deployment, **changed) -> RequestError:
    """Return why an audience has no preview and is not sent."""
    for action in (run.preview, run.send):
        with pytest.raises(RequestError) as raised:
            act(deployment, action, winback(**changed))
    assert deployment.rows("SELECT * FROM ma_audience_members") == []
    return raised.value


class TestOneDraw:
    @pytest.mark.parametrize("use_case", ["ga4_purchase", "first_day_churn"])
    @pytest.mark.parametrize(
        "other", ["control = '10%'", "control = '50%'\ncontrol_by = 'email'"]
    )
    def test_audiences_of_one_group_hold_out_the_same_users(
        self, deployment, declare, use_case, other
    ):
        """Defect: an audience sent the control users of another one of its group."""
        declare(use_case, "upsell", other)

        error = refusal(deployment, **HALF)

        assert f"upsell of {use_case} share the control group all" in error.message
        assert error.field == "control"

    def test_audiences_of_one_draw_are_sent(self, deployment, declare):
        declare("ga4_value", "upsell", "control = '50%'")
        declare("ga4_value", "broken", "control = '5'")

        assert send(deployment, **HALF)["held_out"] > 0

    def test_a_group_keeps_its_draw_without_its_audience(self, deployment):
        """Also once its members have expired: their draw does not."""
        send(deployment, **HALF)
        deployment.empty_tables([AUDIENCE_MEMBERS])
        upsell = named("upsell", control_group="all")

        with pytest.raises(RequestError, match="upsell and winback of ga4_purchase"):
            act(deployment, run.preview, upsell)

    @pytest.mark.parametrize(
        "changed", [{"control": "20%"}, {"control_group": "b"}, {"control_by": "email"}]
    )
    def test_an_audience_keeps_its_draw_when_its_members_have_expired(
        self, deployment, changed
    ):
        """Defect: who was held out before could be contacted then."""
        send(deployment, **HALF)
        deployment.empty_tables([AUDIENCE_MEMBERS])
        next_week(deployment, {"u001": 0.5})

        error = refusal(deployment, **HALF | changed)

        assert "winback has the control group all, 50% by user_id" in error.message
        assert "another audience name" in error.message


class TestKey:
    def test_a_lost_key_is_not_replaced_once_somebody_was_drawn(self, deployment):
        """Defect: the preview of a new audience made another key, and existing ones
        contacted their control groups."""
        send(deployment)
        deployment.artifacts.delete(KEY)
        for name in ("winback", "upsell"):
            with pytest.raises(
                ArtifactError, match=r"key\.json does not exist"
            ) as raised:
                act(deployment, run.preview, named(name))

            assert raised.value.hint == "Restore its newest generation"
        assert deployment.artifacts.find(KEY) is None

    def test_another_key_is_refused_by_all_audiences(self, deployment):
        send(deployment)
        deployment.artifacts.overwrite(KEY, json.dumps({"key": "00" * 32}).encode())
        for name in ("winback", "upsell"):
            with pytest.raises(
                ArtifactError, match=r"group of winback \(ga4_purchase\)"
            ):
                act(deployment, run.send, named(name))


class TestPersons:
    """``control_by``: what the destination knows people by."""

    BY_EMAIL = {"top": 200, "control": "50%", "control_by": "email"}

    def test_a_person_of_several_ids_is_held_out_by_all_of_them(
        self, deployment, crm, tmp_path
    ):
        """Defect: 46 of 100 people with two browsers were held out by one of them and
        contacted by the other. However their address is written."""
        (tmp_path / "winback.sql").write_text(ADDRESSES.format(SPELLED))
        with Receiver() as receiver:
            send(deployment, crm(receiver), **self.BY_EMAIL)
        groups = {
            held: {user[2:] for user in members_of(deployment, is_control=held)}
            for held in (True, False)
        }

        assert 20 < len(groups[True]) < 80
        assert not groups[True] & groups[False]
        assert {user[2:] for _, user in receiver.users} == groups[False]

    def test_a_customer_number_is_the_same_in_any_type(self):
        """Defect: use cases with a FLOAT64 and an INT64 held out different users."""
        texts = ['{"number": 7}', '{"number": 7.0}', '{"number": "7"}']
        people = [Member("u1", attributes=text).known_by("number") for text in texts]

        assert people == ["7", "7", "7"]

    def test_who_was_held_out_stays_so_with_another_address(
        self, deployment, crm, tmp_path
    ):
        """Defect: another browser of theirs, no member before, was contacted."""
        file = tmp_path / "winback.sql"
        file.write_text(ADDRESSES.format("'p'"))
        with Receiver() as receiver:
            send(deployment, crm(receiver), **self.BY_EMAIL | {"top": 100})
            held_out = members_of(deployment, is_control=True)
            # Their other browsers come first now.
            next_week(deployment, {f"u{n:03}": 0.9 - n / 400 for n in range(200)})
            file.write_text(ADDRESSES.format("'q'"))
            before = receiver.users.copy()
            send(deployment, crm(receiver), **self.BY_EMAIL)

        people = {user[2:] for user in held_out}
        assert len(people) > 10
        sent = receiver.users - before
        assert not people & {user[2:] for _, user in sent}

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ("SELECT user_id FROM publication", "and that of control_by"),
            ("SELECT user_id, NULLIF(user_id, 'u199') AS email FROM publication",
             "winback.sql has 1 users without email"),
            ("SELECT user_id, IF(user_id > 'u197', ' ', user_id) AS email "
             "FROM publication", "winback.sql has 2 users without email"),
        ],
    )  # fmt: skip
    def test_a_user_without_an_address_stops_an_audience(
        self, deployment, crm, tmp_path, statement, message
    ):
        (tmp_path / "winback.sql").write_text(statement)
        with Receiver() as receiver, pytest.raises(UseCaseError, match=message):
            send(deployment, crm(receiver), **self.BY_EMAIL)

    def test_persons_are_drawn_by_what_a_login_does_not_change(
        self, deployment, monkeypatch
    ):
        """Defect: 4,531 of 4,996 browsers that were held out were contacted after the
        login, as the person has another id."""
        monkeypatch.setenv("PROPENSITY_USER_COLUMN", "person")

        assert refusal(deployment).field == "control_by"
        assert send(deployment, control="0%")["held_out"] == 0
