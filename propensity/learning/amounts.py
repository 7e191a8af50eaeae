"""
Amounts: what buyers paid, beside the labelled rows of a training.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning import cost
from propensity.learning.bootstrap import rows_per_row
from propensity.learning.data import Slice

Floats = NDArray[np.float64]

# Column of a training's rows with what a buyer paid; null for the others.
AMOUNT = "label_amount"

# The column of converter_amounts.sql.
_PAID = "amount"

# A single buyer's share of all amounts in a fit, at most; of few buyers, so many equal
# shares. What is above is cut off: it is in no promise.
_LARGEST_SHARE = 0.02
_EQUAL_SHARES = 3.0


def with_amounts(rows: pa.Table, paid: Iterable[pa.RecordBatch]) -> pa.Table:
    """
    Return rows with what their buyers paid; the same rows where no amount is known.

    Args:
        rows: ``as_of``, ``user_id`` and ``label``.
        paid: The result of ``converter_amounts.sql``: ``as_of``, ``user_id`` and
            ``amount``, once each. It may be of many more users, and is read once.
    """
    buyers = np.flatnonzero(rows["label"].to_numpy() == 1)
    buyer_keys = _keys(rows.select(["as_of", "user_id"]).take(pa.array(buyers)))
    buyer_places, amounts = [np.empty(0, np.int64)], []
    for batch in paid:
        place = pc.index_in(_keys(pa.Table.from_batches([batch])), value_set=buyer_keys)
        has_amount = pc.and_(pc.is_valid(place), pc.is_valid(batch[_PAID]))
        buyer_places.append(place.filter(has_amount).to_numpy().astype(np.int64))
        amounts.append(batch[_PAID].filter(has_amount))
    places = np.concatenate(buyer_places)
    if not len(places):
        return rows
    at = np.full(len(rows), -1)
    at[buyers[places]] = np.arange(len(places))
    money = pa.concat_arrays(amounts).take(pa.array(at, mask=at < 0))
    return rows.append_column(AMOUNT, money)


def _keys(rows: pa.Table) -> pa.Array:
    joined = pc.binary_join_element_wise(
        pc.cast(rows["as_of"], pa.string()), pc.cast(rows["user_id"], pa.string()), " "
    )
    return joined.combine_chunks()


def paid(rows: Slice) -> Floats:
    """Return what each row's user paid; nothing where that is not known, (rows,)."""
    return cost.amounts(cost.floats(rows.rows[AMOUNT]))


def capped(amount: Floats, weight: Floats) -> Floats:
    """
    Return amounts of which none is more than a fiftieth of their sum, (rows,).

    Of fewer than 150 buyers none is more than three equal shares. Amounts that are all
    below stay as they are.

    Args:
        amount: From 0 on, (rows,).
        weight: (rows,), positive.
    """
    if not len(amount):
        return amount
    rows = float(weight.sum()) / rows_per_row(weight)
    share = max(_LARGEST_SHARE, _EQUAL_SHARES / rows)
    if share >= 1:
        return amount
    order = np.argsort(-amount, kind="stable")
    each, so_many = amount[order], weight[order] / weight.sum() * rows
    # With the first k cut to a cap, it is the share of the sum that they then make.
    above = np.cumsum(so_many)
    # Added up from the smallest: a difference of sums loses them beside a huge one.
    below = np.append(np.cumsum((each * so_many)[::-1])[::-1][1:], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cap = np.where(above * share < 1, share * below / (1 - share * above), 0.0)
    following = np.append(each[1:], 0.0)
    if each[0] <= share * float((each * so_many).sum()):
        return amount
    place = int(np.argmax((cap <= each) & (cap >= following)))
    return np.asarray(np.minimum(amount, cap[place]))
