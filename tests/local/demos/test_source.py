"""
What a demo refuses of an export that was read, specified: what nobody can learn from.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from local.demos.source import check
from local.errors import UnusableData
from local.exports.ga4_export import Summary
from propensity.settings import Settings

TODAY = date(2026, 3, 1)


def summary(*columns: str, last: date = TODAY) -> Summary:
    """Return the summary of an export whose events have these columns of users."""
    return Summary(
        rows=10,
        days=2,
        users=3,
        first_date=date(2026, 1, 1),
        last_date=last,
        last_time=datetime(2026, 3, 1, 12, tzinfo=UTC),
        events={"page_view": 8, "purchase": 2},
        user_columns=frozenset(columns),
    )


def settings(**changed: str) -> Settings:
    """Return those of a demo, which names both."""
    defaults = {"label_event": "purchase", "user_column": "user_pseudo_id", **changed}
    return Settings(project="p", **defaults)


class TestCheck:
    def test_an_export_with_users_and_outcomes_does(self):
        """The last day may be tomorrow's, as it is in the far east."""
        of_both = summary("user_id", "user_pseudo_id", last=date(2026, 3, 2))

        for column in ("user_pseudo_id", "user_id"):
            check(of_both, settings(user_column=column), today=TODAY)

    @pytest.mark.parametrize(
        ("has", "column", "says"),
        [
            ("user_pseudo_id", "user_id", "USER_COLUMN can be user_pseudo_id"),
            ("user_id", "user_pseudo_id", "USER_COLUMN can be user_id"),
        ],
    )
    def test_users_that_nobody_names_are_refused(self, has, column, says):
        """Before anything is trained; the other column is offered."""
        with pytest.raises(UnusableData, match=f"has a {column}, so .*{says}"):
            check(summary(has), settings(user_column=column), today=TODAY)

    def test_an_export_without_users_is_refused(self):
        """There is nothing to offer."""
        with pytest.raises(UnusableData, match="there are no users$"):
            check(summary(), settings(), today=TODAY)

    def test_an_event_that_nobody_sends_is_refused(self):
        """With those that are sent."""
        chosen = settings(label_event="sign_up")

        with pytest.raises(UnusableData, match="'sign_up'.*one of page_view, purchase"):
            check(summary("user_pseudo_id"), chosen, today=TODAY)

    def test_days_to_come_are_refused(self):
        """Weeks are counted back from the last day: one wrong date moves all."""
        late = summary("user_pseudo_id", last=date(2061, 7, 31))

        with pytest.raises(UnusableData, match="until 2061-07-31.*still to come"):
            check(late, settings(), today=TODAY)
