"""Categories of scored users that a use case compares: stored, and then evaluated."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from propensity.tables.models import Category

# Values that are shown by themselves; all less common ones are one row.
SHOWN = 5
OTHERS = "others"
# A source is what a link says, which may be of any length.
LONGEST = 100
_SEPARATOR = "\x1f"


def stored_categories(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """
    Return the named categories of each user as a JSON object, null without names.

    A user without a value has an empty one.
    """
    if not names:
        return pa.nulls(len(batch), pa.string())
    columns = []
    for name in names:
        values = pc.fill_null(batch[name].cast(pa.string()), "")
        short = pc.utf8_slice_codeunits(values, 0, LONGEST)
        columns.append(pc.replace_substring(short, _SEPARATOR, " "))
    # Few of the combinations differ, so that each is written once.
    joined = pc.binary_join_element_wise(*columns, _SEPARATOR).dictionary_encode()
    texts = []
    for combination in joined.dictionary.to_pylist():
        values = combination.split(_SEPARATOR)
        entry = dict(zip(names, values, strict=True))
        texts.append(json.dumps(entry, ensure_ascii=False))
    return pa.array(texts, pa.string()).take(joined.indices)


def evaluated_categories(rows: pa.Table, names: Sequence[str]) -> list[Category]:
    """
    Return what was expected of the commonest values of each category, and what came.

    Args:
        rows: ``categories`` as they are stored, ``users``, ``expected``, the sum of
            their probabilities, and ``conversions``; null for no prediction.
        names: The categories, in the order that they are shown.
    """
    groups = rows.filter(pc.is_valid(rows["categories"])).to_pylist()
    result = []
    for name in names:
        by_value = dict[str, list[dict[str, float]]]()
        for row in groups:
            # A publication from before the category was declared lacks it.
            value = json.loads(row["categories"]).get(name)
            if value is not None:
                by_value.setdefault(value, []).append(row)
        sizes = {
            value: sum(row["users"] for row in same) for value, same in by_value.items()
        }
        order = sorted(sizes, key=lambda value: (-sizes[value], value))
        for value in order[:SHOWN]:
            result.append(_category(name, value, by_value[value]))
        rest = [row for value in order[SHOWN:] for row in by_value[value]]
        if rest:
            result.append(_category(name, OTHERS, rest))
    return result


def _category(name: str, value: str, rows: Sequence[dict[str, float]]) -> Category:
    users = int(sum(row["users"] for row in rows))
    conversions = int(sum(row["conversions"] for row in rows))
    return Category(
        category=name,
        value=value,
        users=users,
        conversions=conversions,
        mean_probability=sum(row["expected"] for row in rows) / users,
        base_rate=conversions / users,
    )
