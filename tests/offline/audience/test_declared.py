"""Declared audiences, specified: their files, and statements of who may be a member."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from pyarrow import BufferReader

from local.receiver import Receiver
from propensity import usecases
from propensity.audience import declared
from propensity.errors import RequestError, UseCaseError
from tests.offline.audience.conftest import MONDAY, members_of, send
from tests.support.rows import publish

USE_CASE = usecases.load("ga4_purchase")
EVEN = """
SELECT user_id AS User_ID, CONCAT(user_id, '@example.com') AS address, 7 AS points
FROM ma_predictions_history
WHERE as_of = @as_of AND user_id LIKE '%0';
"""
TYPED = """
SELECT
  user_id, NUMERIC '19.99' AS spent, NUMERIC '20' AS points,
  BIGNUMERIC '0.5' AS share, [NUMERIC '1.50'] AS each, JSON '{"a": [1.0]}' AS more,
  JSON '"x"' AS word
FROM ma_predictions_history
WHERE as_of = @as_of
"""
TYPES = {
    "spent": 19.99,
    "points": 20,
    "share": 0.5,
    "each": [1.5],
    "more": {"a": [1]},
    "word": "x",
}
# Also a user whose probability is too low for a member.
TWICE = """
SELECT user_id, n FROM ma_predictions_history, UNNEST([1, 2]) AS n
WHERE as_of = @as_of AND (n = 1 OR user_id = '{}')
"""
IS_TWICE = ".*winback.sql has 2 rows of users that it has more than once"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the use case's audiences."""
    monkeypatch.setattr(declared, "folder_of", lambda use_case: tmp_path)
    return tmp_path


def sent(receiver: Receiver) -> list[dict]:
    bodies = receiver.bodies.values()
    return [user for body in bodies for user in json.loads(body)["users"]]


@pytest.fixture
def mail(crm):
    """Return the folder with a destination that knows users by their address."""

    def write(receiver):
        folder = crm(receiver, remove=True)
        file = folder / "destinations" / "crm.toml"
        text = file.read_text().replace('id = "{user_id}"', 'id = "{address}"')
        text = text.replace('p = "{probability}"', 'points = "{points}"')
        file.write_text(f'{text}by = "address"\n')
        return folder

    return write


class TestFile:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("top = 5\nnumber = 7", "unknown entry number"),
            ("top = 0", "top is 0; it must be 1 or more"),
            ("deciles = 11", "deciles is 11; it must be 10 or less"),
            ("threshold = nan", r"threshold"),
            ("", "exactly one of top, deciles, threshold, budget, not with none"),
            ("top = 5\ndeciles = 2", "not with top and deciles"),
            ("budget = 5", "budget needs cost_per_contact, above 0"),
            ("budget = 0\ncost_per_contact = 1", "budget is 0; it must be more than 0"),
            *(
                (f"top = 5\ncontrol = {share}", 'use a share of "0%" to "90%"')
                for share in ("'10'", "'91%'", "'ten%'", "0.1")
            ),
            ("top = 5\ndays = []", "days"),
            ("top = 5\ndays = ['someday']", "days"),
            ("top = 5\nwho = 'lost'", "who: there is no lost"),
            ("top = 5\naway_days = 90", 'set who = "away"'),
            (
                "top = 5\nwho = 'away'\naway_days = 731",
                "away_days is 731, and purchases are known of 730 days",
            ),
            ("top = 5\nuntil = 'soon'", "'soon'; use a day, such as 2027-06-30"),
            ("top = 5\nuntil = 7", "it is 7; use a day, such as 2027-06-30"),
            ("top = 5\ncontrol_group = 'A b'", "use lower-case letters"),
            ("top = 5\ndestination = '../crm'", "destination"),
            ("top = ", "this is not TOML"),
            ("top = 5\ntop = 6", "the file has an entry twice"),
            ("top = 5\n[a]\n[a]", "the file has an entry twice"),
        ],
    )
    def test_a_wrong_file_is_refused_by_its_name(self, folder, text, message):
        given = text if "destination" in text else f"destination = 'bucket'\n{text}"
        (folder / "winback.toml").write_text(given)

        with pytest.raises(UseCaseError) as raised:
            declared.load(USE_CASE, "winback")

        assert "ga4_purchase/audiences/winback.toml: " in raised.value.message
        assert message in raised.value.message
        assert "\n" not in raised.value.message
        assert "regex" not in raised.value.message

    def test_a_file_says_who_is_contacted(self, folder):
        (folder / "winback.toml").write_text(
            "destination = 'crm'\nbudget = 0.3\ncost_per_contact = 0.1\n"
            "control = '12.5%'\ncontrol_group = 'mail'\nuntil = 2026-12-31\n"
            "days = ['monday', 'thursday']\n"
        )

        named = declared.load(USE_CASE, "winback")

        # Three users, and not two: money is exact.
        assert named.declared.paid_for == 3
        assert (named.declared.share, named.group) == (0.125, "mail")
        assert str(named.declared.until) == "2026-12-31"

    def test_who_was_away_is_asked_only_where_features_say_it(self, folder):
        """Else nobody would be a member, for a reason that nothing says."""
        text = "destination = 'bucket'\ntop = 5\nwho = 'away'\n"
        (folder / "winback.toml").write_text(text)
        churn = usecases.load("first_day_churn")

        assert declared.load(USE_CASE, "winback").declared.who == "away"
        with pytest.raises(UseCaseError, match='who is "away".* no column presence'):
            declared.load(churn, "winback")

    def test_a_missing_file_is_named_with_the_others(self, folder):
        (folder / "upsell.toml").touch()
        (folder / "winback.toml").mkdir()

        with pytest.raises(
            RequestError, match=r"'winback'\. Create .*Audiences there are: upsell"
        ):
            declared.load(USE_CASE, "winback")


class TestSecrets:
    """The secrets that a deploy makes: those that destinations' entries name."""

    def test_secrets_of_comments_are_none(self, folder):
        """Defect: a deploy made one, and every delivery stopped without its value."""
        file = folder / "destinations" / "crm.toml"
        file.parent.mkdir()
        file.write_text("# ${OLD}\n[headers]\nX = 'Bearer ${NEW}'\n")

        assert declared.secrets_of(USE_CASE) == ["NEW"]

    def test_secrets_of_a_file_that_is_no_toml_are_unknown(self, folder):
        (folder / "destinations").mkdir()
        (folder / "destinations" / "crm.toml").write_text("url = ${URL}")

        with pytest.raises(UseCaseError, match="destinations/crm.toml: .* not TOML"):
            declared.secrets_of(USE_CASE)


class TestWho:
    """``who``: users who were active, or customers who were away."""

    def test_an_audience_of_those_who_were_away(self, deployment, tmp_path):
        """They are its members, and it is planned with them alone."""
        scores = {f"v{n:03}": (n + 1) / 400 for n in range(100)}
        categories = {}
        for n, user in enumerate(scores):
            presence = "active" if n % 4 else "away"
            categories[user] = json.dumps({"presence": presence})
        later = MONDAY + timedelta(days=7)
        deployment.clock.advance(timedelta(days=7).total_seconds())
        publish(deployment.warehouse, later, scores, categories=categories)

        send(deployment, top=80, who="away")

        away = {user for n, user in enumerate(scores) if n % 4 == 0}
        chosen = members_of(deployment, later, is_control=False)
        held_out = members_of(deployment, later, is_control=True)
        [plan] = deployment.rows("SELECT deciles FROM ma_audience_plans")
        assert chosen | held_out == away
        assert sum(decile["users"] for decile in plan["deciles"]) == len(away)


class TestStatement:
    """``winback.sql``: one row per user who may be a member."""

    def test_a_statement_says_who_may_be_a_member(self, deployment, mail, tmp_path):
        (tmp_path / "winback.sql").write_text(EVEN)
        with Receiver() as receiver:
            done = send(deployment, mail(receiver), top=15, control="50%")

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
            *((TWICE.format(user), IS_TWICE) for user in ("u199", "u001")),
            *((EVEN.replace("points", column), f".*rename the column {column}")
              for column in ("audience", "index")),
            *(
                (sql, "ga4_purchase/audiences/winback.sql: .*the column user_id")
                for sql in (
                    "SELECT user_id FROM nowhere",
                    "SELECT user_id FROM",
                    "SELECT probability AS p FROM ma_predictions_history "
                    "WHERE as_of = @as_of",
                    "SELECT user_id, CAST('x' AS INT64) AS n\n"
                    "FROM ma_predictions_history WHERE as_of = @as_of",
                )
            ),
        ],
        ids=["one of the best twice", "one of the others twice", "a value's name",
             "an option's name", "no table", "no SQL", "no user", "fails"],
    )  # fmt: skip
    def test_a_wrong_statement_makes_nobody_a_member(
        self, emulated, crm, tmp_path, statement, said
    ):
        (tmp_path / "winback.sql").write_text(statement)
        with Receiver() as receiver, pytest.raises(UseCaseError) as raised:
            send(emulated, crm(receiver), top=10)

        assert re.match(said, raised.value.message), raised.value.message
        assert "\n" not in raised.value.message
        assert receiver.requests == 0
        assert emulated.rows("SELECT * FROM ma_audience_members") == []

    def test_a_statement_s_numbers_stay_what_they_are(self, emulated, crm, tmp_path):
        """Defect: NUMERIC was sent as the text 19.990000000, and JSON as a text."""
        (tmp_path / "winback.sql").write_text(TYPED)
        places = "".join(f'{name} = "{{{name}}}"\n' for name in TYPES)
        with Receiver() as receiver:
            file = crm(receiver) / "destinations" / "crm.toml"
            text = file.read_text().replace("[user]\n", f"[user]\n{places}")
            file.write_text(text)
            send(emulated, tmp_path, top=1, control="0%", destination="bucket")
            send(emulated, tmp_path, top=1, control="0%")

        [user] = sent(receiver)
        [name] = emulated.artifacts.names("audiences/ga4_purchase/winback/")
        [row] = pq.read_table(
            BufferReader(emulated.artifacts.read(name).data)
        ).to_pylist()
        assert {name: user[name] for name in TYPES} == TYPES
        assert {name: row[name] for name in TYPES} == TYPES
        assert json.dumps(user["points"]) == "20"

    def test_a_row_without_a_user_is_no_member(self, deployment, tmp_path):
        (tmp_path / "winback.sql").write_text(
            "SELECT IF(user_id < 'u190', NULL, user_id) AS user_id\n"
            "FROM ma_predictions_history WHERE as_of = @as_of\n"
        )
        done = send(deployment, tmp_path, top=50, control="0%", destination="bucket")

        assert done["members"] == 10
        assert min(members_of(deployment, is_control=False)) == "u190"
