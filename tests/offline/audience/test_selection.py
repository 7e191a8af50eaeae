"""Who is in an audience, and who is held out, specified."""

from __future__ import annotations

import hmac
import json

import pytest
from scipy.stats import binom

from propensity.audience.control import KEY, Control
from propensity.audience.declared import MOST_USERS, Declared
from propensity.audience.members import most_candidates
from tests.offline.audience.conftest import MONDAY, members_of, send
from tests.support.deployment import Deployment
from tests.support.rows import publish

USERS = [f"u{number}" for number in range(1_000)]


def control(share=0.1, *, group="winback"):
    return Control(key=bytes(32), group=group, share=share)


@pytest.fixture
def drawn(deployment):
    """Return who of some people is held out, by a key of zeros."""
    key = json.dumps({"key": "00" * 32}).encode()
    deployment.artifacts.create(KEY, key)

    def held_out(people: list[str], **changed) -> set[str]:
        publish(deployment.warehouse, MONDAY, dict.fromkeys(people, 0.5))
        send(deployment, **{"top": len(people), **changed})
        treated = members_of(deployment, is_control=False)
        held = members_of(deployment, is_control=True)
        assert treated | held == {*people}
        return held

    yield held_out
    deployment.artifacts.delete(KEY)


class TestControl:
    @pytest.mark.parametrize(
        ("group", "held"),
        [
            ("winback", {"u2", "u5", "4711", "ü@ö.example"}),
            ("all", {"ana@example.com", "u6", "u9", "4711"}),
        ],
    )
    def test_the_draw_stays_as_it_was_once_drawn(self, drawn, group, held):
        """Otherwise users would be contacted who were held out."""
        people = [f"u{number}" for number in range(1, 10)]
        people += ["ana@example.com", "4711", "ü@ö.example"]

        assert drawn(people, control="20%", control_group=group) == held

    def test_the_control_group_is_drawn_by_the_keyed_hash_of_any_id(self, drawn):
        """Its share is held out, within what chance does."""
        people = [*USERS, "a\\x41b", "'quoted\"", "two words", "ÀÉ", "日本", "😀"]
        key = control().group_key
        expected = set()
        for person in people:
            digest = hmac.digest(key, person.encode(), "sha256")
            if int.from_bytes(digest[:8], "big") < 0.1 * 2**64:
                expected.add(person)
        low, high = binom.interval(0.9999, len(people), 0.1)

        assert drawn(people, control="10%") == expected
        assert low <= len(expected) <= high

    def test_a_larger_control_group_keeps_the_smaller_one(self):
        """Whoever is below a bound is below a larger one."""
        bounds = [control(share).parameters["share"] for share in (0, 0.05, 0.1, 0.9)]

        assert bounds == sorted(bounds)
        assert bounds[0] == "0" * 16

    def test_no_parameter_of_a_job_reveals_the_draw_of_another_group(self):
        """BigQuery keeps parameters."""
        given = control().parameters
        secrets = {bytes(32).hex(), control(group="all").group_key.hex()}
        texts = {value.hex() for value in given.values() if isinstance(value, bytes)}

        assert not secrets & (texts | {str(value) for value in given.values()})


class TestMembers:
    def test_members_are_the_best(self, deployment):
        send(deployment, top=100, control="0%")

        best = {f"u{n:03}" for n in range(100, 200)}
        assert members_of(deployment, is_control=False) == best

    @pytest.mark.parametrize(("deciles", "users"), [(1, 19), (3, 111), (10, 200)])
    def test_deciles_are_tenths_of_the_users(self, deployment, deciles, users):
        people = {f"v{number}": 0.5 for number in range(users)}
        publish(deployment.warehouse, MONDAY, people)
        done = send(deployment, deciles=deciles)

        assert done["members"] == users * deciles // 10

    def test_members_of_a_budget_are_a_thousand_million_at_most(self):
        """Defect: of a larger one nobody could be read, by an OverflowError."""
        rule = Declared(destination="bucket", budget=1e300, cost_per_contact=1e-300)

        read = most_candidates(rule, control(), users=1_000, suppressed=0)

        assert read == MOST_USERS

    @pytest.mark.parametrize("pays_for", [1, 2, 9])
    def test_members_of_a_budget_end_with_the_last_who_is_paid_for(
        self, deployment: Deployment, pays_for
    ):
        """Who is held out costs nothing; more of them after that would be too many."""
        budget = {"budget": pays_for + 0.9, "cost_per_contact": 1.0}
        send(deployment, control="90%", **budget)
        treated = members_of(deployment, is_control=False)
        members = treated | members_of(deployment, is_control=True)

        assert len(treated) == pays_for
        assert min(members) in treated
        assert members == {f"u{n:03}" for n in range(200 - len(members), 200)}
