"""
Amounts: a batch's digits as one column of exact decimals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from propensity.events.rows import EVENT_SCHEMA, STRING, Decoded
from propensity.events.values import AMOUNT, Refused, amount_of

_MONEY = EVENT_SCHEMA.field("amount").type
# A cent in units of the last decimal; the largest amount is below 2**63 of them.
_CENT = 10 ** (_MONEY.scale - 2)

# A line for each event: money in the usual format, or an empty line.
_AMOUNTS = re.compile(rf"(?:(?:{AMOUNT[1:-1]})?+\n)*+".encode())


def amounts_of(decoded: Decoded, refused: dict[int, Refused]) -> pa.Array:
    """Return amounts as exact decimals; null for an event without one."""
    amounts = [event.amount for event in decoded.events]
    without = [row for row in decoded.sparse if amounts[row] is None]
    for row in without:
        amounts[row] = b""
    if not _AMOUNTS.fullmatch(b"\n".join(amounts) + b"\n"):
        return _odd_amounts(decoded, amounts, without, refused)
    # Exact: up to MAXIMUM_AMOUNT, cents differ by more than a float's rounding.
    units = np.fromiter((float(amount or 0) for amount in amounts), np.float64)
    decimals = np.zeros((len(amounts), 2), np.int64)
    decimals[:, 0] = np.rint(units * 100).astype(np.int64) * _CENT
    is_there = None
    if without:
        has_amount = np.ones(len(amounts), np.bool_)
        has_amount[without] = False
        is_there = pa.py_buffer(np.packbits(has_amount, bitorder="little"))
    buffers = [is_there, pa.py_buffer(decimals)]
    return pa.Array.from_buffers(_MONEY, len(amounts), buffers)


def _odd_amounts(
    decoded: Decoded,
    amounts: Sequence[bytes],
    without: Sequence[int],
    refused: dict[int, Refused],
) -> pa.Array:
    """Return amounts of which some are not in the usual format; see ``amounts_of``."""
    digits: list[Any] = [bytes(amount) for amount in amounts]
    for row, amount in enumerate(digits):
        if _AMOUNTS.fullmatch(amount + b"\n"):
            continue
        try:
            field = decoded.events[row].declared.amount
            digits[row] = str(amount_of(amount, field=field))
        except Refused as error:
            refused[decoded.places[row]] = error
            digits[row] = None
    for row in without:
        digits[row] = None
    return pa.array(digits, STRING).cast(_MONEY)
