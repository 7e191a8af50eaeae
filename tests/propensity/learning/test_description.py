"""What a description of a training data set says, and what it keeps to itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.learning.description import BINS, FEWEST_USERS, TOP_VALUES, describe

MONDAY = date(2026, 1, 5)


def snapshot(
    columns: Mapping[str, Any], *, labels: Any = None, **others: Any
) -> pa.Table:
    """Build rows of one date, one user each, that differ in some columns."""
    n = len(next(iter(columns.values())))
    return pa.table(
        {
            "as_of": pa.array([MONDAY] * n, pa.date32()),
            "user_id": [f"user-{i}" for i in range(n)],
            "label": pa.array([i % 2 for i in range(n)] if labels is None else labels),
            **columns,
            **others,
        }
    )


def described(values: Any, **others: Any) -> dict[str, Any]:
    """Describe one numeric feature."""
    rows = snapshot({"x": values}, **others)
    return describe(rows, {"x": "number"})["numbers"][0]


def described_category(values: Any, **others: Any) -> dict[str, Any]:
    """Describe one category."""
    rows = snapshot({"x": pa.array(values, pa.string())}, **others)
    return describe(rows, {"x": "category"})["categories"][0]


def test_a_number_is_summed_up_by_observed_values() -> None:
    """Quartiles are values that occur; missing and zero are shares of all rows."""
    number = described(pa.array([0.0, 1.0, 2.0, 3.0, None, 0.0, 5.0, 9.0]))

    assert number["missing"] == 0.125
    assert number["zeros"] == 0.25
    assert [number[k] for k in ("min", "q25", "median", "q75", "max")] == [
        0, 0, 2, 5, 9,
    ]  # fmt: skip
    assert number["mean"] == pytest.approx(20 / 7)


def test_shares_of_a_histogram_add_up_to_one_in_each_label() -> None:
    """Every finite value is in one bin, whatever the scale."""
    generator = np.random.default_rng(3)
    for values in (
        generator.normal(size=500),
        np.exp(generator.normal(size=500) * 3),
        np.where(generator.random(500) < 0.7, 0, np.exp(generator.normal(size=500))),
        generator.normal(size=500) ** 5,
        generator.integers(0, 9, 500),
        generator.integers(0, 1000, 500),
        generator.geometric(0.01, 500) ** 2,
    ):
        histogram = described(values)["histogram"]
        edges = histogram["edges"]

        assert len(edges) - 1 <= BINS
        assert np.all(np.diff(edges) > 0)
        for share in ("share", "share_0", "share_1"):
            assert len(histogram[share]) == len(edges) - 1
            assert sum(histogram[share]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([4.0] * 20, "constant"),
        ([0, 1, 1, 2, 5] * 4, "integer"),
        ([True, False] * 10, "integer"),
        (list(np.linspace(-1, 1, 50)), "linear"),
        (list(range(200)), "linear"),
        ([0.0] * 50 + list(np.geomspace(0.01, 1e5, 50)), "log"),
        ([-(10.0**i) for i in range(9)] + [10.0**i for i in range(9)], "symmetric log"),
    ],
)
def test_the_scale_of_a_histogram_suits_its_values(
    values: list[Any], scale: str
) -> None:
    """Skewed values are drawn on a logarithmic scale, counts by value."""
    assert described(pa.array(values))["histogram"]["scale"] == scale


def test_zeros_stand_apart_on_a_logarithmic_scale() -> None:
    """The first bin holds the zeros and ends at the smallest other value."""
    histogram = described(pa.array([0.0] * 60 + list(np.geomspace(0.5, 1e6, 40))))[
        "histogram"
    ]

    assert histogram["edges"][:2] == [0, 0.5]
    assert histogram["share"][0] == 0.6


def test_a_histogram_tells_converters_from_others() -> None:
    """Shares are within a label: 1 is in the last bin if all its rows are."""
    histogram = described([0, 0, 3, 3], labels=[0, 0, 1, 1])["histogram"]

    assert histogram["edges"] == [0, 1, 2, 3, 4]
    assert histogram["share_0"] == [1, 0, 0, 0]
    assert histogram["share_1"] == [0, 0, 0, 1]


def test_weights_stand_for_the_users_left_out() -> None:
    """A row of weight 3 counts as three in shares and rates, as one in counts."""
    rows = snapshot({"x": [0.0, 8.0, 8.0]}, labels=[0, 1, 1], weight=[6.0, 1.0, 1.0])
    description = describe(rows, {"x": "number"})

    assert description["is_weighted"]
    assert description["base_rate"] == 0.25
    assert description["rows"] == 3
    assert description["as_ofs"] == [
        {"as_of": "2026-01-05", "rows": 3, "conversions": 2, "base_rate": 0.25}
    ]
    assert description["numbers"][0]["zeros"] == 0.75
    assert description["numbers"][0]["median"] == 0
    assert description["numbers"][0]["mean"] == 2


@pytest.mark.parametrize(
    "values",
    [
        pa.array([None] * 30, pa.float64()),
        pa.nulls(30),
        pa.array([float("inf"), float("nan"), float("-inf")] * 10),
        pa.array([1.7e308, -1.7e308, 5e-324] * 10),
        pa.array([2**63 - 1, -(2**63), 0] * 10),
        pa.array([2**53, 2**53 + 1] * 15),
        pa.array([Decimal("0.01"), None, Decimal("99999999.99")] * 10),
        pa.array([None, True] * 15),
    ],
    ids=str,
)
def test_no_values_break_it(values: pa.Array) -> None:
    """Nulls alone, infinities, the ends of float and integer, decimals, booleans."""
    for labels in ([0] * 30, [1] * 30, [0, 1, None] * 10):
        rows = snapshot({"x": values, "y": range(30)}, labels=pa.array(labels))
        description = describe(rows, {"x": "number", "y": "number"})

        assert json.loads(json.dumps(description, allow_nan=False)) == description


def test_values_that_do_not_exist_are_none() -> None:
    """A feature without a finite value has shares, but no mean and no histogram."""
    number = described(pa.array([None, float("inf")] * 5, pa.float64()))

    assert (number["missing"], number["infinite"]) == (0.5, 0.5)
    assert number["mean"] is None
    assert number["histogram"] is None


@pytest.mark.parametrize("n", [0, 1, 2])
def test_very_few_rows_are_described(n: int) -> None:
    """None at all, too."""
    rows = snapshot(
        {"x": pa.array([1.5, 2.5][:n]), "c": pa.array(["a", "b"][:n], pa.string())}
    )
    description = describe(rows, {"x": "number", "c": "category"})

    assert description["rows"] == n
    assert description["correlations"]["matrix"] == [[None]]
    assert description["numbers"][0]["label_correlation"] is None


def test_a_value_of_few_users_is_not_shown() -> None:
    """Many rows of one user are one user: the value may name him."""
    values = ["google"] * 40 + ["jane@example.com"] * 40
    category = described_category(
        values, user_id=[f"u{i}" for i in range(40)] + ["jane"] * 40
    )

    assert [value["value"] for value in category["values"]] == ["google"]
    assert category["rest"] == {"n_values": 1, "rows": 40, "share": 0.5, "rate": None}
    assert "jane" not in json.dumps(category)


def test_the_most_frequent_values_are_shown_and_the_others_pooled() -> None:
    """At most eight, with the rate of label 1; the rest together has a rate too."""
    values = [f"v{i:02}" for i in range(12) for _ in range(2 * (FEWEST_USERS + 12 - i))]
    category = described_category([*values, None])

    assert [v["value"] for v in category["values"]] == [
        f"v{i:02}" for i in range(TOP_VALUES)
    ]
    assert {v["rate"] for v in category["values"]} == {0.5}
    assert category["rest"]["n_values"] == 4
    assert category["rest"]["rate"] == 0.5
    assert sum(v["rows"] for v in [*category["values"], category["rest"]]) == len(
        values
    )


@pytest.mark.parametrize("kind", ["string", "dictionary", "integer", "null", "empty"])
def test_a_category_may_come_in_any_type(kind: str) -> None:
    """Dictionaries, integers, nothing but nulls, and the empty text."""
    values = {
        "string": pa.array(["a", "b"] * 20),
        "dictionary": pa.array(["a", "b"] * 20).dictionary_encode(),
        "integer": pa.array([1, 2] * 20),
        "null": pa.nulls(40),
        "empty": pa.array(["", "b"] * 20),
    }[kind]
    rows = snapshot({"x": values})
    category = describe(rows, {"x": "category"})["categories"][0]

    assert category["n_values"] == (0 if kind == "null" else 2)
    assert len(category["values"]) == category["n_values"]


def spearman(x: Any, y: Any) -> float:
    """Compute Spearman's coefficient from its definition."""
    order = [np.array([np.sum(v < a) + np.sum(v == a) / 2 for a in v]) for v in (x, y)]
    return float(np.corrcoef(order)[0, 1])


def test_correlations_are_spearmans() -> None:
    """Ties share a rank, and a monotone change of scale changes nothing."""
    generator = np.random.default_rng(5)
    x = generator.integers(0, 7, 400).astype(float)
    y = np.exp(x + 2 * generator.normal(size=400))
    label = (generator.random(400) < x / 10).astype(int)
    description = describe(
        snapshot({"x": x, "y": y}, labels=label), {"x": "number", "y": "number"}
    )

    assert description["correlations"]["rows"] == 400
    assert description["correlations"]["matrix"][0][1] == pytest.approx(
        spearman(x, y), abs=1e-6
    )
    assert description["numbers"][0]["label_correlation"] == pytest.approx(
        spearman(x, label), abs=1e-6
    )


def test_correlations_are_of_the_features_nearest_to_the_label() -> None:
    """Of hundreds a card holds a hundred: their number grows with the square. Those
    are in it whose ranks go most with the label, as the features are declared."""
    n, count = 400, 130
    label = np.arange(n) % 2
    noise = np.random.default_rng(5).normal(size=(count, n))
    # Later ones have more of the label in them.
    columns = {f"x{i}": noise[i] + label * i / 20 for i in range(count)}
    rows = snapshot(columns, labels=label)
    card = describe(rows, dict.fromkeys(columns, "number"))
    kept = card["correlations"]["features"]
    by_label = sorted(
        card["numbers"], key=lambda number: -abs(number["label_correlation"])
    )[:100]

    assert len(card["numbers"]) == count
    assert set(kept) == {number["feature"] for number in by_label}
    assert kept == [name for name in columns if name in set(kept)]
    matrix = card["correlations"]["matrix"]
    assert [len(row) for row in matrix] == [100] * 100
    place = kept.index("x129"), kept.index("x120")
    both = {"x129": "number", "x120": "number"}
    [[_, alone], _] = describe(rows, both)["correlations"]["matrix"]
    assert matrix[place[0]][place[1]] == pytest.approx(alone)


def test_a_constant_correlates_with_nothing() -> None:
    """There is no number for it, not zero."""
    rows = snapshot({"x": [1.0] * 30, "y": range(30)})
    matrix = describe(rows, {"x": "number", "y": "number"})["correlations"]["matrix"]

    assert matrix == [[None, None], [None, 1.0]]


def test_a_large_data_set_is_sampled_the_same_way_each_time() -> None:
    """The same rows give the same description, correlations of a sample included."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=25_000)
    rows = snapshot({"x": x, "y": x + generator.normal(size=25_000)})
    features = {"x": "number", "y": "number"}

    assert describe(rows, features) == describe(rows, features)
    assert describe(rows, features)["correlations"]["rows"] == 20_000


def test_dates_are_counted_in_order() -> None:
    """One entry a date, the oldest first, from dates or from timestamps."""
    rows = snapshot(
        {"x": [1, 2, 3]},
        labels=[1, 0, 1],
        as_of=pa.array(
            [datetime(2026, 1, day, tzinfo=UTC) for day in (12, 5, 5)],
            pa.timestamp("us", "UTC"),
        ),
    )

    assert describe(rows, {"x": "number"})["as_ofs"] == [
        {"as_of": "2026-01-05", "rows": 2, "conversions": 1, "base_rate": 0.5},
        {"as_of": "2026-01-12", "rows": 1, "conversions": 1, "base_rate": 1.0},
    ]


def test_a_missing_column_is_named() -> None:
    """So is a kind of feature that does not exist."""
    rows = snapshot({"x": [1]})

    with pytest.raises(ValueError, match="rows lack y; they have as_of"):
        describe(rows, {"y": "number"})
    with pytest.raises(ValueError, match="number or category"):
        describe(rows, {"x": "text"})


@given(
    st.lists(
        st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float)), max_size=40
    )
)
def test_any_floats_can_be_described(values: list[float | None]) -> None:
    """What comes out is JSON, and bins hold all that is finite."""
    number = described(pa.array(values, pa.float64()))
    finite = [v for v in values if v is not None and np.isfinite(v)]

    json.dumps(number, allow_nan=False)
    assert (number["histogram"] is not None) == bool(finite)
    if finite:
        assert number["histogram"]["edges"][0] <= min(finite)
        assert number["histogram"]["edges"][-1] >= max(finite)
        assert sum(number["histogram"]["share"]) == pytest.approx(1, abs=1e-4)
