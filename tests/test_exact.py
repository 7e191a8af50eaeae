"""The features of a stream by the textbook, specified on amounts done by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.exact import expected_features


def bets(*amounts: Any) -> tuple[int, Decimal, Decimal | None, Decimal | None]:
    """Count, sum, mean and variance of one user's bets."""
    bet = {
        "user_id": "a",
        "event_type": "new_bet",
        "event_time": "2026-06-01T10:00:00Z",
    }
    events = [
        bet | {"event_id": str(number), "bet_amount": amount}
        for number, amount in enumerate(amounts)
    ]
    features = expected_features(events)["a"]
    names = ("bet_count", "bet_sum", "bet_mean", "bet_var")
    count, total, mean, variance = (features[name] for name in names)
    return count, total, mean, variance


class TestExpectedFeatures:
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
