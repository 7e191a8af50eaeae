"""What a later delivery of the same date sends, specified on a receiver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands.cli import main
from local.receiver import Receiver
from offline import forget
from propensity.errors import RequestError
from propensity.settings import Settings
from propensity.tables.audiences import AUDIENCE_MEMBERS
from tests.propensity.audience.conftest import (
    ledger,
    next_week,
    send,
)
from tests.support.receivers import Playing

ALL = {f"u{number:03}": (number + 1) / 400 for number in range(200)}
CLOSED = 403, {}, {"error": "closed"}


def by_email(folder: Path) -> Path:
    """Have the destination of a folder know people by an address of their SQL."""
    file = folder / "destinations" / "crm.toml"
    text = file.read_text().replace('id = "{user_id}"', 'id = "{email}"')
    file.write_text(f'{text}by = "email"\n')
    return folder


def test_who_left_the_sql_is_sent_as_little_as_the_list_has_them(
    deployment, folder, capsys
):
    """Who has unsubscribed since the choice, or is suppressed, is in neither."""
    with Playing(always=CLOSED) as receiver:
        text = f'kind = "http"\nname = "crm"\nurl = "{receiver.url}/users"\n'
        text += '[user]\nid = "{user_id}"\n'
        (folder / "destinations" / "crm.toml").write_text(text)
        (folder / "winback.sql").write_text("SELECT user_id FROM publication")
        main(["audience", "send", "winback"])
        left = "SELECT user_id FROM publication WHERE user_id != 'u199'"
        (folder / "winback.sql").write_text(left)
        deployment.suppress("u198", at=deployment.clock.now())
        deployment.clock.advance(25 * 3600)
        capsys.readouterr()
        main(["audience", "list", "winback"])
        printed = capsys.readouterr().out
        receiver.always = None
        main(["audience", "send", "winback"])

    sent = {user for _, user in receiver.users}
    assert sent == {f"u{number}" for number in range(190, 198)}
    assert all(user in printed for user in sent)
    assert "u198" not in printed
    assert "u199" not in printed


def test_the_control_group_is_that_of_the_choice_whoever_leaves_the_sql(
    deployment, crm
):
    """As the measured uplift has it: it is compared with all who were treated."""
    half = {"control": "50%", "top": 100}
    with Playing(always=CLOSED) as receiver:
        folder = crm(receiver)
        sql = folder / "winback.sql"
        sql.write_text("SELECT user_id FROM publication")
        first = send(deployment, folder, **half)
        sql.write_text("SELECT user_id FROM publication WHERE user_id < 'u150'")
        again = send(deployment, folder, **half)

    assert again["members"] < first["members"]
    assert again["held_out"] == first["held_out"]


def test_who_is_forgotten_is_taken_off_by_the_next_delivery(deployment, crm):
    """Also by one of the same date, and after one that a receiver stopped, which may
    have taken them off all the same."""
    with Playing() as receiver:
        folder = crm(receiver, remove=True)
        send(deployment, folder, top=10, control="0%")
        (folder / "winback.toml").write_text('top = 10\ndestination = "crm"\n')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("propensity.audience.declared.folder_of", lambda _: folder)
            settings = Settings.from_environment()
            first = forget.run(settings, ["u199"])
            receiver.answers = [(403, {}, {})]
            assert send(deployment, folder, top=10, control="0%")["failure"]
            second = forget.run(settings, ["u199"])
            deployment.clock.advance(900)
            done = send(deployment, folder, top=10, control="0%")
            again = send(deployment, folder, top=10, control="0%")
            last = forget.run(settings, ["u199"])

    assert first["receivers"][0]["removal"] == "the next delivery removes them"
    assert second["receivers"] == first["receivers"]
    assert done["tallies"]["remove"]["accepted"] == 1
    assert again["tallies"]["remove"]["sent"] == 0
    assert receiver.users["remove", "u199"] == 1
    assert last["left"] == 0


def test_a_user_is_taken_off_with_what_the_list_was_last_sent(deployment, crm):
    """A receiver may find them by any of it."""
    best = {"top": 1, "control": "0%"}
    with Receiver() as receiver:
        folder = crm(receiver, remove=True)
        file = folder / "destinations" / "crm.toml"
        file.write_text(file.read_text().replace("{probability}", "{city}"))
        for city in ("Bonn", "Köln"):
            sql = f"SELECT user_id, '{city}' AS city FROM publication"
            (folder / "winback.sql").write_text(sql)
            send(deployment, folder, **best)
            next_week(deployment, {"u199": 0.5, "u198": 0.4})
        next_week(deployment, {"u198": 0.4})
        send(deployment, folder, **best)
        bodies = list(receiver.bodies.values())

    [removed] = [body for body in bodies[2:] if b"u199" in body]
    assert json.loads(removed)["users"] == [{"id": "u199", "p": "Köln"}]


def test_who_is_treated_stays_though_earlier_members_are_not_stored(deployment, crm):
    """Their retention may be shorter than that of the lists."""
    best = {"top": 2, "control": "0%"}
    with Receiver() as receiver:
        folder = crm(receiver, remove=True)
        send(deployment, folder, **best)
        deployment.empty_tables([AUDIENCE_MEMBERS])
        next_week(deployment, {"u199": 0.5, "u001": 0.4})
        done = send(deployment, folder, **best)

    assert ("remove", "u199") not in receiver.users
    assert done["tallies"]["remove"]["sent"] == 1


def test_an_audience_that_was_ended_waits_for_the_next_predictions(deployment, crm):
    """On the way to another destination, too, where nobody has asked for a date."""
    with Receiver() as receiver:
        folder = crm(receiver, remove=True)
        send(deployment, folder, top=10, control="0%")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("propensity.audience.declared.folder_of", lambda _: folder)
            main(["audience", "end", "winback"])
        with pytest.raises(RequestError, match="was ended, or had no members") as no:
            send(deployment, folder, top=10, control="0%")
        next_week(deployment, ALL)
        send(deployment, folder, top=10, control="0%")

    assert no.value.hint == "It is sent again with the next predictions"
    assert receiver.users["add", "u199"] == 2


class Naming(Playing):
    """A receiver that names the entries without an address, as they were sent."""

    def take(self, method, path, headers, body):
        super().take(method, path, headers, body)
        sent = [user["id"] for user in json.loads(body)["users"]]
        return 200, {}, {"errors": [{"id": user} for user in sent if not user]}


NAMELESS = """
SELECT
  user_id,
  CASE user_id
    WHEN 'u199' THEN NULL
    WHEN 'u197' THEN ' '
    ELSE CONCAT(user_id, '@x.example')
  END AS email
FROM publication
"""


@pytest.mark.parametrize("batch", [1, 25])
def test_a_user_without_an_address_is_rejected_and_stops_nobody(deployment, crm, batch):
    """One receiver would accept a null, and another stop everybody for it."""
    with Naming() as receiver:
        folder = by_email(crm(receiver, batch=batch))
        (folder / "winback.sql").write_text(NAMELESS)
        done = send(deployment, folder, top=10, control="0%")

    rows = {row["user_id"]: row["status"] for row in ledger(deployment)}
    assert (done["failure"], done["pending"]) == ("", 0)
    assert done["tallies"]["add"]["rejected"] == {"no email": 2}
    assert rows["u199"] == rows["u197"] == "rejected"
    assert len(receiver.users) == 8


def test_an_address_that_one_of_two_entries_may_have_added_is_taken_off(
    deployment, crm
):
    """The receiver rejects an address that it was sent twice, and may have it once."""
    of_one = "SELECT user_id, 'ana@x.example' AS email FROM publication"
    of_others = (
        "SELECT user_id, CONCAT(user_id, '@x.example') AS email FROM publication"
    )
    with Playing() as receiver:
        folder = by_email(crm(receiver, remove=True))
        (folder / "winback.sql").write_text(of_one)
        receiver.answers = [(200, {}, {"errors": [{"id": "ana@x.example"}]})]
        done = send(deployment, folder, top=2, control="0%")
        (folder / "winback.sql").write_text(of_others)
        next_week(deployment, {"u001": 0.5, "u002": 0.4})
        send(deployment, folder, top=2, control="0%")

    assert done["tallies"]["add"]["rejected"] == {"rejected": 2}
    assert [method for method, *_ in receiver.heard] == ["POST", "DELETE", "POST"]
