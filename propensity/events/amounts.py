"""
Amounts: a batch's digits as one column of exact decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from propensity.events.record_batches import STRING, Column, bits, column_of, nulls
from propensity.events.rows import EVENT_SCHEMA, Decoded
from propensity.events.values import MAXIMUM_AMOUNT, Refused, amount_of

_MONEY = EVENT_SCHEMA.field("amount").type
# A cent in units of the last decimal; the largest amount is below 2**63 of them.
_CENT = 10 ** (_MONEY.scale - 2)

# Characters of an amount whose float tells whether it is whole cents: with further
# decimals it is at least 1e-11 of itself from them, by rounding at most 1e-15.
_SHORT = 12
_ROUNDING = 1e-12
_decode_numbers = msgspec.json.Decoder(list[float]).decode


def amounts_of(decoded: Decoded, refused: dict[int, Refused]) -> Column:
    """Return amounts as exact decimals; null for an event without one."""
    amounts = [event.amount for event in decoded.events]
    if amounts.count(None) == len(amounts):
        return nulls(_MONEY, len(amounts))
    without = [row for row in decoded.sparse if amounts[row] is None]
    for row in without:
        amounts[row] = b"0"
    units = cents_of(amounts)
    if units is None:
        return _odd_amounts(decoded, amounts, without, refused)
    decimals = np.zeros((len(amounts), 2), np.int64)
    decimals[:, 0] = units * _CENT
    if not without:
        return 0, (b"", decimals.tobytes())
    valid = bits(without, len(amounts), are_set=False)
    return len(without), (valid, decimals.tobytes())


def cents_of(amounts: Sequence[bytes]) -> Any:
    """Return amounts as cents, int64 (n,); None if one is in an unusual format."""
    joined = b",".join(amounts)
    if max(map(len, amounts), default=0) > _SHORT or b"e" in joined or b"E" in joined:
        return None
    try:
        cents = np.array(_decode_numbers(b"[%b]" % joined), np.float64) * 100
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    whole = np.rint(cents)
    if (np.abs(cents - whole) > cents * _ROUNDING).any():
        return None  # negative, or with further decimals
    if len(cents) and np.maximum.reduce(whole) > MAXIMUM_AMOUNT * 100:
        return None
    return whole.astype(np.int64)


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
