"""Declared audiences, specified: their files, and statements of who may be a member."""

from __future__ import annotations

import json
import re

import pytest

from local.receiver import Receiver
from propensity import usecases
from propensity.audience import declared
from propensity.errors import UseCaseError
from tests.propensity.audience.conftest import members_of, send

USE_CASE = usecases.load("ga4_purchase")
EVEN = """
SELECT user_id AS User_ID, CONCAT(user_id, '@example.com') AS address, 7 AS points
FROM ma_predictions_history
WHERE as_of = @as_of AND user_id LIKE '%0';
"""
# Also a user whose probability is too low for a member.
TWICE = """
SELECT user_id, n FROM ma_predictions_history, UNNEST([1, 2]) AS n
WHERE as_of = @as_of AND (n = 1 OR user_id = '{}')
"""
OF_THE_FILE = "ga4_purchase/audiences/winback.sql: .*the column user_id"
IS_TWICE = ".*winback.sql has 2 rows of users that it has more than once"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the use case's audiences."""
    monkeypatch.setattr(declared, "folder_of", lambda use_case: tmp_path)
    return tmp_path


def sent(receiver: Receiver) -> list[dict]:
    bodies = receiver.bodies.values()
    return [user for body in bodies for user in json.loads(body)["users"]]


class TestFile:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("top = 5\nnumber = 7", "unknown entry number"),
            ("top = 0", "top is 0; it must be 1 or more"),
            ("", "exactly one of top, deciles, threshold, budget, not with none"),
            ("top = 5\ndeciles = 2", "not with top and deciles"),
            ("budget = 5", "budget needs cost_per_contact, above 0"),
            ("top = 5\ncontrol = '91%'", 'use a share of "0%" to "90%"'),
            ("top = 5\ncontrol = 0.1", 'use a share of "0%" to "90%"'),
            ("top = 5\ndays = []", "days"),
            ("top = 5\nwho = 'lost'", "who: there is no lost"),
            ("top = 5\naway_days = 90", 'set who = "away"'),
            (
                "top = 5\nwho = 'away'\naway_days = 731",
                "away_days is 731, and purchases are known of 730 days",
            ),
            ("top = 5\nuntil = 'soon'", "'soon'; use a day, such as 2027-06-30"),
            ("top = 5\ncontrol_group = 'A b'", "use lower-case letters"),
            ("top = 5\ndestination = '../crm'", "destination"),
            ("top = ", "this is not TOML"),
        ],
    )
    def test_a_wrong_file_is_refused_by_its_name(self, folder, text, message):
        given = text if "destination" in text else f"destination = 'bucket'\n{text}"
        (folder / "winback.toml").write_text(given)

        with pytest.raises(UseCaseError) as raised:
            declared.load_audience(USE_CASE, "winback")

        assert "ga4_purchase/audiences/winback.toml: " in raised.value.message
        assert message in raised.value.message

    def test_a_budget_is_exact(self, folder):
        """It pays for three users, and not for two."""
        (folder / "winback.toml").write_text(
            "destination = 'crm'\nbudget = 0.3\ncost_per_contact = 0.1\n"
        )

        assert declared.load_audience(USE_CASE, "winback").declared.paid_for == 3

    def test_who_was_away_is_asked_only_where_features_say_it(self, folder):
        """Else nobody would be a member, for a reason that nothing says."""
        text = "destination = 'bucket'\ntop = 5\nwho = 'away'\n"
        (folder / "winback.toml").write_text(text)
        churn = usecases.load("first_day_churn")

        assert declared.load_audience(USE_CASE, "winback").declared.who == "away"
        with pytest.raises(UseCaseError, match='who is "away".* no column presence'):
            declared.load_audience(churn, "winback")


class TestStatement:
    """``winback.sql``: one row per user who may be a member."""

    def test_a_statement_says_who_may_be_a_member(self, deployment, crm, tmp_path):
        (tmp_path / "winback.sql").write_text(EVEN)
        with Receiver() as receiver:
            file = crm(receiver) / "destinations" / "crm.toml"
            text = file.read_text().replace('"{user_id}"', '"{address}"')
            file.write_text(text.replace('p = "{probability}"', 'points = "{points}"'))
            done = send(deployment, tmp_path, top=15, control="50%")

        treated = members_of(deployment, is_control=False)
        held_out = members_of(deployment, is_control=True)
        assert treated | held_out == {f"u{n:03}" for n in range(50, 200, 10)}
        assert sent(receiver) == [
            {"id": f"{user}@example.com", "points": 7} for user in sorted(treated)
        ]
        assert done["held_out"] == len(held_out) > 0
        # Nobody sends the control group: no address of it is kept.
        kept = deployment.rows("SELECT user_id, attributes FROM ma_audience_members")
        assert {r["user_id"] for r in kept if r["attributes"]} == treated

    @pytest.mark.parametrize(
        ("statement", "said"),
        [
            (TWICE.format("u199"), IS_TWICE),
            (TWICE.format("u001"), IS_TWICE),
            (EVEN.replace("points", "audience"), ".*rename the column audience"),
            ("SELECT user_id FROM nowhere", OF_THE_FILE),
            ("SELECT probability AS p FROM publication", OF_THE_FILE),
            ("SELECT user_id, CAST('x' AS INT64) AS n FROM publication", OF_THE_FILE),
        ],
    )
    def test_a_wrong_statement_makes_nobody_a_member(
        self, deployment, crm, tmp_path, statement, said
    ):
        (tmp_path / "winback.sql").write_text(statement)
        with Receiver() as receiver, pytest.raises(UseCaseError) as raised:
            send(deployment, crm(receiver), top=10)

        assert re.match(said, raised.value.message), raised.value.message
        assert "\n" not in raised.value.message
        assert receiver.requests == 0
        assert deployment.rows("SELECT * FROM ma_audience_members") == []
