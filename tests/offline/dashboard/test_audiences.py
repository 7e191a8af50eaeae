"""The page of audiences, specified: whose they are."""

from __future__ import annotations

from tests.offline.dashboard.rows import delivered, lift, members
from tests.offline.dashboard.test_site import pages, words


class TestAudiences:
    def test_of_one_name_are_told_apart_by_their_use_case(self):
        """What was sent of one is not added to the other."""
        rows = {
            "audiences": [members(), members(use_case="churn")],
            "deliveries": [delivered(), delivered(use_case="churn", users=70)],
            "lift": [lift(), lift(use_case="churn", revenue_difference=1234567.0)],
        }
        text = words(pages(rows)["audiences.html"])

        assert "winback of churn crm add 2026-02-17 70 70 0" in text
        assert "winback of ga4_purchase crm add 2026-02-17 880 880 0" in text
        assert "Audience winback of churn: not decided yet" in text
        assert "1,234,567.00" in text
