"""
Least privilege, specified: a function is granted what it does, no more and no less.

Every function is served from its staged source, behind endpoints of its own that record
what it asks of BigQuery, Cloud Storage and Pub/Sub. They do all that they can do, for
all use cases. What the calls need is compared with what Terraform grants.
"""

from __future__ import annotations

import pytest

from tests import rights
from tests.functions.recorded import FUNCTIONS, recorded, site
from tests.partitions import unfiltered

# Fixtures.
__all__ = ["recorded", "site"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.mark.parametrize("target", FUNCTIONS)
class TestRights:
    def test_are_not_narrower_than_what_is_done(self, recorded, target):
        """Every call of a function finds all permissions that Google asks for it."""
        missing = {
            need: (call.method, call.path[:200])
            for need, call in recorded.needed[target].items()
            if not any(grant.covers(need) for grant in recorded.granted[target])
        }

        assert missing == {}

    def test_are_not_wider_than_what_is_done(self, recorded, target):
        """Without any one grant some call would fail."""
        granted, needed = recorded.granted[target], recorded.needed[target]
        idle = [
            grant
            for grant in granted
            if not any(
                grant.covers(need)
                and not any(one.covers(need) for one in granted if one is not grant)
                for need in needed
            )
        ]

        assert idle == []


@pytest.mark.parametrize("target", FUNCTIONS)
def test_every_query_is_bounded(recorded, target):
    """BigQuery refuses what would bill more, and reads the days that are meant of every
    large table."""
    asked = list(rights.queries(recorded.calls[target]))

    assert [one for one in asked if int(one.get("maximumBytesBilled", 0)) < 1] == []
    assert [one for one in asked if unfiltered(one["query"])] == []


def test_own_roles_permit_only_what_is_used(recorded):
    """A role of the deployment's own permits what somebody does with it."""
    used = {
        (grant.role, need.permission)
        for target in FUNCTIONS
        for grant in recorded.granted[target]
        for need in recorded.needed[target]
        if grant.covers(need)
    }

    assert {
        (role, permission)
        for role, (_, permissions) in rights.OWN_ROLES.items()
        for permission in permissions
    } <= used
