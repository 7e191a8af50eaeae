"""The draw of control groups, specified: no audience of a group contacts its users."""

from __future__ import annotations

import hmac
import json

import numpy as np
import pytest
from msgspec import structs

from local.receiver import Receiver
from propensity.audience import run
from propensity.audience.control import KEY, Control
from propensity.audience.delivery import account
from propensity.audience.destinations.google import hashed_email
from propensity.audience.destinations.values import coarsest
from propensity.errors import RequestError, UseCaseError
from propensity.registry.deployment import open_deployment
from propensity.tables.audiences import AUDIENCE_LIFT
from tests.propensity.audience.conftest import (
    MONDAY,
    USERS,
    WEEK,
    act,
    members_of,
    send,
    winback,
)
from tests.support import own_use_cases
from tests.support.deployment import Deployment
from tests.support.rows import publish

HALF = {"control": "50%", "control_group": "all"}


def refusal(deployment, **changed) -> RequestError:
    """Return why an audience has no preview and is not sent."""
    for action in (run.preview, run.send):
        with pytest.raises(RequestError) as raised:
            act(deployment, action, winback(**changed))
    assert deployment.rows("SELECT * FROM ma_audience_members") == []
    return raised.value


class TestOneDraw:
    def test_ids_of_other_columns_share_no_group(self, deployment, tmp_path):
        """A person would be held out by the browser's id in one shop, and contacted by
        the login's id in the other."""
        with own_use_cases.in_folder(tmp_path / "own") as own:
            own_use_cases.write_instance(
                own, "shop_uk", ga4_dataset="analytics_2", user_column="user_id"
            )
            folder = own / "shop_uk" / "audiences"
            folder.mkdir()
            (folder / "upsell.toml").write_text(
                "destination = 'csv'\ntop = 5\ncontrol = '50%'\ncontrol_group = 'all'\n"
            )
            message = refusal(deployment, **HALF).message
            (folder / "upsell.toml").unlink()

            assert send(deployment, **HALF)["held_out"] > 0

        assert "(user_pseudo_id), and 50% by user_id (user_id)" in message


class TestPersons:
    """``control_by``: what the destination knows people by."""

    BY_EMAIL = {"top": 200, "control": "50%", "control_by": "email"}

    @pytest.mark.parametrize(
        "texts",
        [
            ("ana.b@gmail.com", "anab+x@gmail.com", " ANAB@GMAIL.COM"),
            (" Ana@x.example", "<ana@x.example>", "mailto:ana@x.example;"),
        ],
    )
    def test_a_person_is_one_to_the_draw_who_is_one_to_any_receiver(self, texts):
        """Google takes these for one person: where one is held out, all are."""
        assert len({coarsest(text) for text in texts}) == 1
        assert len({hashed_email(text) for text in texts}) == 1

    def test_a_person_of_several_ids_is_in_one_group_with_all_of_them(
        self, deployment, tmp_path
    ):
        """However an address is written: the receiver reaches one person by it."""
        number = "MOD(CAST(SUBSTR(user_id, 2) AS INT64), 50)"
        address = f"CONCAT('u', {number}, '@gmail.com')"
        (tmp_path / "winback.sql").write_text(
            f"""
            SELECT
              user_id,
              CASE
                WHEN user_id < 'u050' THEN UPPER({address})
                WHEN user_id < 'u100' THEN CONCAT('u.', {number}, '+shop@gmail.com')
                WHEN user_id < 'u150' THEN CONCAT(' ', {address})
                ELSE CONCAT('<mailto:', {address}, '>;')
              END AS email
            FROM publication
            """
        )
        send(deployment, tmp_path, destination="bucket", **self.BY_EMAIL)
        groups = {}
        for is_control in (True, False):
            users = members_of(deployment, is_control=is_control)
            groups[is_control] = {int(user[1:]) % 50 for user in users}

        assert groups[True]
        assert groups[False]
        assert not groups[True] & groups[False]

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ("'' AS mail", "by email, which is neither a STRING nor an INT64"),
            ("7.0 AS email", "by email, which is neither a STRING nor an INT64"),
            ("IF(user_id > 'u197', ' ', '7') AS email", "has 2 users without email"),
        ],
    )
    def test_a_user_without_an_address_stops_an_audience(
        self, deployment, crm, tmp_path, statement, message
    ):
        sql = f"SELECT user_id, {statement} FROM publication"
        (tmp_path / "winback.sql").write_text(sql)
        with Receiver() as receiver, pytest.raises(UseCaseError, match=message):
            send(deployment, crm(receiver), **self.BY_EMAIL)

    def test_persons_are_drawn_by_what_a_login_does_not_change(
        self, deployment, monkeypatch
    ):
        """After a login the person has another id, and who was held out by the
        browser's would be contacted."""
        monkeypatch.setenv("PROPENSITY_USER_COLUMN", "person")

        assert refusal(deployment).field == "control_by"
        assert send(deployment, control="0%")["held_out"] == 0


KEY_OF_ZEROS = bytes(32)


@pytest.fixture
def drawn(deployment):
    """The deployment, which draws by a known key."""
    deployment.artifacts.delete(KEY)
    text = json.dumps({"key": KEY_OF_ZEROS.hex()}).encode()
    deployment.artifacts.create(KEY, text)
    yield deployment
    deployment.artifacts.delete(KEY)


class TestControl:
    def test_the_draw_of_any_id_stays_as_it_was(self, drawn):
        """Otherwise users would be contacted who were held out."""
        people = [f"u{number}" for number in range(1_000)]
        people += ["a\\x41b", "'quoted\"", "two words", "ÀÉ", "日本", "😀"]
        key = hmac.digest(KEY_OF_ZEROS, b"draw\0all", "sha256")
        expected = set()
        for person in people:
            digest = hmac.digest(key, person.encode(), "sha256")
            if int.from_bytes(digest[:8], "big") < 0.1 * 2**64:
                expected.add(person)
        publish(drawn.warehouse, MONDAY, dict.fromkeys(people, 0.5))
        send(drawn, top=len(people), control_group="all")

        assert members_of(drawn, is_control=True) == expected
        assert members_of(drawn, is_control=False) == {*people} - expected

    def test_no_parameter_of_a_job_reveals_the_draw_of_another_group(self):
        """BigQuery keeps parameters."""
        given = Control(key=KEY_OF_ZEROS, group="a", share=0.1).parameters
        other = Control(key=KEY_OF_ZEROS, group="b", share=0.1).group_key
        texts = {value.hex() for value in given.values() if isinstance(value, bytes)}
        texts.update(str(value) for value in given.values())

        assert not {KEY_OF_ZEROS.hex(), other.hex()} & texts


class TestMembers:
    def test_deciles_are_tenths_of_the_users(self, deployment):
        publish(deployment.warehouse, MONDAY, {f"v{n}": 0.5 for n in range(111)})

        assert send(deployment, deciles=3)["members"] == 33

    def test_who_has_no_prediction_is_no_member(self, deployment, tmp_path):
        """Though the audience's own SQL has them, and users are drawn at random."""
        sql = "SELECT user_id FROM publication UNION ALL SELECT CONCAT('no ', user_id) "
        (tmp_path / "winback.sql").write_text(sql + "FROM publication")
        drawn = structs.replace(winback(top=100, explore="80%"), folder=tmp_path)
        act(deployment, run.send, drawn)
        members = deployment.rows("SELECT * FROM ma_audience_members")

        assert len(members) == 100
        assert {row["user_id"][0] for row in members} == {"u"}

    def test_a_budget_pays_for_users_at_random_first(self, drawn):
        """They are about so large a share of its members, however low they rank."""
        paid = {"budget": 100, "cost_per_contact": 1, "control": "0%"}
        send(drawn, **paid, explore="90%")
        rows = drawn.rows("SELECT is_explored FROM ma_audience_members")

        assert len(rows) == 100
        assert 75 < sum(row["is_explored"] for row in rows) < 100

    @pytest.mark.parametrize("pays_for", [1, 9])
    def test_members_of_a_budget_end_with_the_last_who_is_paid_for(
        self, deployment: Deployment, pays_for
    ):
        """Who is held out costs nothing; more of them after that would be too many."""
        budget = {"budget": pays_for + 0.9, "cost_per_contact": 1.0}
        sent = send(deployment, control="90%", **budget)
        treated = members_of(deployment, is_control=False)
        held_out = members_of(deployment, is_control=True)
        members = treated | held_out

        assert sent["held_out"] == len(held_out)
        assert len(treated) == pays_for
        assert min(members) in treated
        assert members == {f"u{n:03}" for n in range(200 - len(members), 200)}


PROBABILITIES = {f"u{n:03}": (n + 1) / 400 for n in range(USERS)}
# Users who buy the least often pay the most.
VALUES = {f"u{n:03}": float(USERS - n) for n in range(USERS)}
MONEY = {"order": "expected_value", "cost_per_contact": 1.9, "margin": 0.5}


@pytest.fixture
def shop(deployment):
    """The deployment with expected values of all users."""
    publish(deployment.warehouse, MONDAY, PROBABILITIES, values=VALUES)
    return deployment


def preview(deployment, **changed):
    return act(deployment, run.preview, winback(**changed))


class TestByMoney:
    def test_an_order_by_money_needs_expected_values(self, deployment):
        with pytest.raises(RequestError, match="publishes no expected_value"):
            send(deployment, order="expected_value")

    def test_what_is_published_of_a_user_can_be_sent(self, shop, crm):
        with Receiver() as receiver:
            file = crm(receiver) / "destinations" / "crm.toml"
            more = 'rank = "{percentile}"\nworth = "{decile_value}"\np ='
            file.write_text(file.read_text().replace("p =", more))
            send(shop, file.parents[1], top=1, control="0%")
        [body] = receiver.bodies.values()
        mean = round(sum(VALUES.values()) / len(VALUES), 2)

        assert json.loads(body)["users"] == [
            {"id": "u199", "p": 0.5, "rank": 100, "worth": mean}
        ]


class TestPlan:
    @pytest.mark.parametrize("users", [1, 9, 37])
    def test_tenths_are_equal_parts_whatever_the_scores(self, deployment, users):
        """Users of one score are divided; fewer than ten users are one each."""
        chances = {
            f"u{n:03}": (0.2, 0.2, 0.2, 0.7, 0.1 * n / users)[n % 5]
            for n in range(users)
        }
        publish(deployment.warehouse, MONDAY, chances)
        deciles = preview(deployment, top=None, threshold=0.0)["deciles"]
        best_first = sorted(chances.values(), reverse=True)
        parts = np.array_split(best_first, 10)

        assert [decile["users"] for decile in deciles] == [
            len(p) for p in parts if len(p)
        ]
        for decile, part in zip(deciles, parts, strict=False):
            assert decile["conversions"] == pytest.approx(part.sum())

    def test_by_a_threshold_who_reaches_it_now_is_a_new_member(self, deployment):
        lower = {user: chance * 0.8 for user, chance in PROBABILITIES.items()}
        publish(deployment.warehouse, MONDAY - WEEK, lower)
        plan = preview(deployment, top=None, threshold=0.38)

        assert (plan["power"][0]["members"], plan["new_members_a_week"]) == (49, 38)

    def test_who_was_among_the_best_before_is_no_new_member(self, deployment):
        """Seasons raise all scores: today's lowest score of a member says nothing of
        the weeks before."""
        lower = {user: chance * 0.8 for user, chance in PROBABILITIES.items()}
        publish(deployment.warehouse, MONDAY - WEEK, lower)

        assert preview(deployment, top=100)["new_members_a_week"] == 0


def test_the_ledger_says_what_contacting_brought(shop):
    """With the cost as it was measured, whatever a contact costs today."""
    send(shop, **MONEY)
    row = {"use_case": "ga4_purchase", "audience": "winback", "week": MONDAY}
    row |= {"status": "final", "verdict": "helps"}
    row |= {"treated_users": 100, "control_users": 50, "revenue_difference": 10.0}
    row |= {"revenue_difference_low": 5.0, "revenue_difference_high": 15.0}
    row |= {"cost": 150, "margin": 0.5}
    shop.append(AUDIENCE_LIFT, row)
    with open_deployment() as opened_run:
        found = account(opened_run, "winback")

    assert found["brought"]["profit"] == 350
    assert "their first contacts cost 150 USD" in found["says"]
