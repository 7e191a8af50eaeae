"""The sample that training reads: users as a whole, about so many rows, weighted."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from propensity.gcp.warehouse import Warehouse
from propensity.statements import statement
from tests.support.in_process import InProcess

SAMPLED = f"WITH\n{statement('sampled_rows')}"

# A user is known by a level and by chance alone; a row by its date's mood as well.
MADE = """
CREATE OR REPLACE TABLE labelled AS
SELECT
  CONCAT('u', CAST(number AS STRING)) AS user_id,
  CONCAT('u', CAST(number AS STRING)) AS sampled_by,
  MOD(number, 10) < 3 AS is_quiet,
  as_of,
  CAST(MOD(number, 10) AS FLOAT64) AS level,
  CAST(MOD(number * 31 + week * 7, 101) AS FLOAT64) AS noise,
  IF(
    MOD(DIV(number, 10) * 7919 + week * 104729, DIV(@users, 10))
    < ROUND(@base_rate * (0.1 + 0.2 * MOD(number, 10)) * DIV(@users, 10)),
    1,
    0
  ) AS label
FROM
  UNNEST(GENERATE_ARRAY(0, @users - 1)) AS number
CROSS JOIN
  UNNEST(GENERATE_DATE_ARRAY('2026-01-05', '2026-02-16', INTERVAL 7 DAY)) AS as_of
CROSS JOIN
  UNNEST([DATE_DIFF(as_of, DATE '2026-01-05', WEEK)]) AS week
"""


# In which rows are compared.
ORDER = [("user_id", "ascending"), ("as_of", "ascending")]


@pytest.fixture(scope="module")
def warehouse():
    return InProcess().warehouse


def made(warehouse: Warehouse, users: int, base_rate: float) -> pa.Table:
    """Have the table of labelled rows hold some of so many users, and return them."""
    warehouse.execute(MADE, {"users": users, "base_rate": base_rate})
    return warehouse.table("SELECT * FROM labelled")


def read(warehouse: Warehouse, maximum: int) -> pa.Table:
    return warehouse.table(SAMPLED, {"maximum_rows": maximum}).sort_by(ORDER)


def test_rows_of_a_user_stay_together(warehouse):
    """A user is read as a whole or not at all, unchanged; there are about as many rows
    as may be, the same again, and they stand for those left out."""
    whole = made(warehouse, 2_000, 0.1)
    for maximum in (2_000, 10_000, len(whole)):
        rows = read(warehouse, maximum)
        theirs = Counter(rows["user_id"].to_pylist())
        kept = whole.filter(pc.is_in(whole["user_id"], pa.array(list(theirs))))
        found = rows.drop_columns(["weight"])

        assert 0.9 * maximum <= len(rows) <= maximum
        assert set(theirs.values()) == {7}
        assert found.equals(kept.sort_by(ORDER).select(found.column_names))
        assert rows.equals(read(warehouse, maximum))
        for label in (0, 1):
            weights = rows.filter(pc.equal(rows["label"], label))["weight"]
            of_all = pc.sum(pc.equal(whole["label"], label)).as_py()
            assert pc.sum(weights).as_py() == pytest.approx(of_all, rel=0.05)
        assert pc.sum(rows["weight"]).as_py() == pytest.approx(len(whole))
    assert set(rows["weight"].to_pylist()) == {1.0}


@pytest.mark.parametrize("base_rate", [0.0, 0.02, 0.3])
def test_quiet_rows_are_few_in_each_training(warehouse, base_rate):
    """Of quiet users without label 1 five rows are read for each quiet row of label 1,
    but 5,000 if there are so many; all others are read, and weights count as all rows
    do. That holds below a maximum, too, which few shops reach."""
    whole = made(warehouse, 10_000, base_rate).to_pandas()
    rows = read(warehouse, len(whole)).to_pandas()
    counted = []
    for frame in (whole, rows):
        frame["is_quiet"] = frame["level"] < 3
        of_user = frame.groupby("user_id")["label"]
        frame["has_positive"] = of_user.transform("max") == 1
        counted.append(frame.groupby(["is_quiet", "has_positive", "label"]))
    whole_counts = counted[0].size()
    quiet_positives = int(whole.loc[whole["is_quiet"], "label"].sum())
    is_thinned = rows["is_quiet"] & ~rows["has_positive"]
    most = max(5_000, 5 * quiet_positives)

    assert 0.95 * most < is_thinned.sum() <= most
    assert set(rows.loc[~is_thinned, "weight"]) == {1.0}
    assert set(rows.groupby("user_id").size()) == {7}
    assert counted[1]["weight"].sum().to_dict() == pytest.approx(whole_counts.to_dict())


def test_rows_are_of_both_classes(warehouse):
    """A dozen rows of label 0 would each stand for nearly a million."""
    made(warehouse, 3_000, 0.9)
    rows = read(warehouse, 1_000)

    assert set(rows["label"].to_pylist()) == {0, 1}
    assert pc.max(rows["weight"]).as_py() < 100
