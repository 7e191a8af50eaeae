"""
Amounts: a batch's digits as one column of exact decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from propensity.events.record_batches import (
    STRING,
    Column,
    bits,
    column_of,
    nulls,
)
from propensity.events.rows import EVENT_SCHEMA, Decoded
from propensity.events.usual_times import TO_ZEROS
from propensity.events.values import MAXIMUM_AMOUNT, Refused, amount_of

_MONEY = EVENT_SCHEMA.field("amount").type
# A cent in units of the last decimal; the largest amount is below 2**63 of them.
_CENT = 10 ** (_MONEY.scale - 2)

# A third decimal, among digits that are zeros.
_THIRD_DECIMAL = b".000"
_decode_numbers = msgspec.json.Decoder(list[float]).decode


def amounts_of(decoded: Decoded, refused: dict[int, Refused]) -> Column:
    """Return amounts as exact decimals; null for an event without one."""
    count = len(decoded.events)
    if all(kind.amount is None for kind in decoded.kinds):
        return nulls(_MONEY, count)
    amounts = [event.amount for event in decoded.events]
    without = [row for row in decoded.sparse if amounts[row] is None]
    for row in without:
        amounts[row] = b"0"
    cents = cents_of(amounts)
    if cents is None:
        return _odd_amounts(decoded, amounts, without, refused)
    decimals = np.zeros((count, 2), np.int64)
    decimals[:, 0] = cents
    decimals *= _CENT
    valid = bits(without, count, are_set=False) if without else b""
    return len(without), (valid, decimals.tobytes())


def cents_of(amounts: Sequence[bytes]) -> Any:
    """
    Return amounts as cents, whole numbers as float64 (n,).

    None if one is in an unusual format: negative, with an exponent or more than two
    decimals, too large, or no number. A usual one is exact when its float is rounded.
    """
    joined = b",".join(amounts)
    if (
        b"-" in joined
        or b"e" in joined
        or b"E" in joined
        or _THIRD_DECIMAL in joined.translate(TO_ZEROS)
    ):
        return None
    try:
        numbers = _decode_numbers(b"[%b]" % joined)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if max(numbers, default=0) > MAXIMUM_AMOUNT:
        return None
    return np.rint(np.array(numbers, np.float64) * 100)


def _odd_amounts(
    decoded: Decoded,
    amounts: Sequence[bytes],
    without: Sequence[int],
    refused: dict[int, Refused],
) -> Column:
    """Return amounts of which some are not in the usual format; see ``amounts_of``."""
    digits: list[Any] = [bytes(amount) for amount in amounts]
    for row, amount in enumerate(digits):
        try:
            field = decoded.events[row].declared.amount
            digits[row] = str(amount_of(amount, field=field))
        except Refused as error:
            refused[decoded.places[row]] = error
            digits[row] = None
    for row in without:
        digits[row] = None
    return column_of(pa.array(digits, STRING).cast(_MONEY))
