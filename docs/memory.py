"""
Memory of a training by its rows; a part of the page of scale.
"""

from __future__ import annotations

from propensity import usecases
from propensity.learning.sample import FIT_ROWS
from propensity.settings import Settings
from propensity.usecases import NUMBER

ROWS = (500_000, 1_000_000, 2_000_000, 5_000_000)
GIB = 2**30

# Of a category or an id with its offset; of date, label, weight and places of a sort.
TEXT_BYTES = 24
OTHER_BYTES = 36
# Columns that a category is encoded into at most where its values are as in the
# benchmark, those below a hundredth pooled.
CATEGORY_COLUMNS = 12
# Python with its libraries.
LIBRARIES = 0.3 * GIB

OPENING = """\
## Rows of a training

`PROPENSITY_MAXIMUM_TRAINING_ROWS` is {default:,} by default; five million fit into the 8 GiB of `00-ModelTraining/deploy.sh`.
The table of rows is in memory once: it is sorted where it is read, and its parts are views.
A fit reads {fit:,} rows at most, a seeded sample of more; the other rows are encoded piece by piece to be scored, so that choice, calibration, figures and the holdout are of all rows.
By arithmetic, in GiB, of `ga4_purchase` with gaps in every number, which makes {columns} columns of float64 of its {features} features:
"""  # noqa: E501


def lines() -> list[str]:
    """Return the section, as lines of Markdown."""
    use_case = usecases.load("ga4_purchase")
    numbers = sum(kind == NUMBER for kind in use_case.features.values())
    texts = len(use_case.features) - numbers
    columns = 2 * numbers + CATEGORY_COLUMNS * texts
    a_row = 8 * numbers + TEXT_BYTES * (texts + 1) + OTHER_BYTES

    def row(what: str, size: dict[int, float]) -> str:
        cells = " | ".join(f"{size[count] / GIB:.1f}" for count in ROWS)
        return f"| {what} | {cells} |"

    def each(bytes_: float, *, most: int | None = None) -> dict[int, float]:
        return {count: bytes_ * min(count, most or count) for count in ROWS}

    table = each(a_row)
    encoded = each(8 * columns, most=FIT_ROWS)
    # Numbers as a frame, filled, marked and scaled: three times the encoded rows.
    encoding = each(3 * 8 * columns, most=FIT_ROWS)
    steps = {
        "sorting: the table twice": {n: 2 * table[n] for n in ROWS},
        "encoding: the table, and what is encoded on its way": {
            n: table[n] + encoding[n] for n in ROWS
        },
        "fitting: the table, the rows encoded, and a forest's float32": {
            n: table[n] + 1.5 * encoded[n] for n in ROWS
        },
        "describing: the table, and its numbers as float64": {
            n: table[n] + 8 * numbers * n for n in ROWS
        },
        "storing: the table, and Parquet in a buffer that doubles": {
            n: 3 * table[n] for n in ROWS
        },
    }
    most = {n: LIBRARIES + max(step[n] for step in steps.values()) for n in ROWS}
    return [
        OPENING.format(
            default=Settings(project="p").maximum_training_rows,
            fit=FIT_ROWS,
            columns=columns,
            features=len(use_case.features),
        ),
        "| | " + " | ".join(f"{count / 1e6:g} M rows" for count in ROWS) + " |",
        "| --- | " + " | ".join("--:" for _ in ROWS) + " |",
        row("rows encoded at once", encoded),
        *(row(what, size) for what, size in steps.items()),
        row("the most, with 0.3 of libraries", most),
        "",
        "What a process really held stands under [training](benchmarks.md#training).",
    ]
