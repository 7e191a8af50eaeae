"""The features of a stream by the textbook, specified on amounts done by hand."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.generators.games.messages import Event
from tests.exact import expected_features
from tests.local.generators.games.players import DAY, event, registration


def bet(amount: Any, **fields: Any) -> Event:
    return event("new_bet", bet_amount=amount, **fields)


def bets(*amounts: Any) -> tuple[int, Decimal, Decimal | None, Decimal | None]:
    """Count, sum, mean and variance of one user's bets."""
    features = expected_features([bet(amount) for amount in amounts])["a"]
    names = ("bet_count", "bet_sum", "bet_mean", "bet_var")
    count, total, mean, variance = (features[name] for name in names)
    return count, total, mean, variance


class TestExpectedFeatures:
    def test_of_nothing_are_zero_and_unknown(self):
        """A user who only registered has counts and sums, and no mean or variance."""
        (features,) = expected_features([registration("2026-06-01T10:00:00Z")]).values()

        assert features == {
            f"{measure}_{name}": value
            for measure in ("purchase", "bet", "win")
            for name, value in (("count", 0), ("sum", 0), ("mean", None), ("var", None))
        }

    @pytest.mark.parametrize(
        ("amounts", "expected"),
        [
            (("5.00",), (1, "5", "5", None)),
            (("1.00", "2.00"), (2, "3", "1.5", "0.5")),
            (
                ("2.00", "4.00", "4.00", "4.00", "5.00", "5.00", "7.00", "9.00"),
                (8, "40", "5", "4.571428571"),
            ),
            # 1/3 and 2/3, rounded down and up.
            (("0.00", "0.00", "1.00"), (3, "1", "0.333333333", "0.333333333")),
            (("0.00", "1.00", "1.00"), (3, "2", "0.666666667", "0.333333333")),
            # 0.01 / 4 and 0.01² · (1/4 of 3/4) · 4/3 = 0.000025.
            (("0.01", "0", "0", "0"), (4, "0.01", "0.0025", "0.000025")),
            # Where floating sums of squares give 0.
            (
                ("1000000001", "1000000002", "1000000003"),
                (3, "3000000006", "1000000002", "1"),
            ),
            (
                ("999999999.97", "999999999.98", "999999999.99"),
                (3, "2999999999.94", "999999999.98", "0.0001"),
            ),
            (
                ("1000000000.00", "0.00"),
                (2, "1000000000", "500000000", "500000000000000000"),
            ),
            (
                ("1000000000.00", "0.01"),
                (2, "1000000000.01", "500000000.005", "499999999990000000.00005"),
            ),
        ],
    )
    def test_are_what_a_hand_computes(self, amounts, expected):
        """To the last digit, from no amount to the largest."""
        exact = tuple(Decimal(x) if isinstance(x, str) else x for x in expected)

        assert bets(*amounts) == exact

    def test_are_rounded_half_away_from_zero(self):
        """
        A mean that ends in 5 at the tenth decimal goes up.

        0.01 over 2⁸ is 0.0000390625, and over 2⁹ 0.00001953125.
        """
        of_256 = bets("0.01", *["0.00"] * 255)
        of_512 = bets("0.01", *["0.00"] * 511)

        assert of_256[2] == Decimal("0.000039063")
        assert of_512[2] == Decimal("0.000019531")

    @pytest.mark.parametrize(
        "other",
        [
            {"event_time": "2026-06-02T10:00:00Z"},
            {"user_id": "b"},
            {"use_case": "another"},
        ],
    )
    def test_an_id_is_one_of_a_use_case_a_user_and_a_day(self, other):
        """There it counts once, however often it comes; elsewhere it is another."""
        event = bet("1.00")
        features = expected_features([event, dict(event), event | other])

        assert sum(row["bet_count"] for row in features.values()) == 2

    def test_the_cut_off_is_the_first_moment_that_is_out(self):
        """24 hours after the registration is too late by a millisecond."""
        events = [
            registration("2026-06-01T10:00:00.000Z"),
            bet("1.00", event_time="2026-06-01T10:00:00.001Z"),
            bet("2.00", event_time="2026-06-02T09:59:59.999Z"),
            bet("4.00", event_time="2026-06-02T10:00:00.000Z"),
        ]
        sums = [
            expected_features(events, cut_off=cut_off)["a"]["bet_sum"]
            for cut_off in (timedelta(hours=1), DAY, DAY + timedelta(seconds=1), None)
        ]

        assert sums == [1, 3, 7, 7]

    def test_the_first_registration_counts(self):
        """In whatever order they are read, and in whatever zone they are written."""
        events = [
            registration("2026-06-03T10:00:00"),
            registration("2026-06-01T12:00:00+02:00"),
            bet("1.00", event_time="2026-06-02T09:59:59Z"),
            bet("2.00", event_time="2026-06-02T10:00:00Z"),
        ]
        for order in (events, events[::-1]):
            assert expected_features(order, cut_off=DAY)["a"]["bet_sum"] == 1

    def test_a_user_without_a_registration_has_no_row_at_a_cut_off(self):
        """There is nothing to count the hours from; without a cut-off it has one."""
        assert expected_features([bet("1.00")], cut_off=DAY) == {}
        assert set(expected_features([bet("1.00")])) == {"a"}
