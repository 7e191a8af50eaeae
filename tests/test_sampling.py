"""
The sample that training reads, specified: users as a whole, at most so many rows, and
weights that are exact, whatever the number of rows and the base rate.

Which users are read is decided on counts by bucket of a hash, and so can be looked at
for a hundred million rows without one of them (``tests.sampling``). What goes before
and after is tried on rows that the emulator makes.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from propensity.gcp.warehouse import Warehouse
from propensity.learning import fit
from propensity.learning import rows as learning_rows
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import Timeframe
from propensity.usecases import Baseline, Candidate
from tests.constants import altered
from tests.propensity.learning import shops
from tests.sampling import BASE_RATES, MAXIMUM, ROWS, Population, sample

SAMPLED = f"WITH\n{statement('sampled_rows')}"

# A user is known by a level and by chance alone; a row by its date's mood as well.
MADE = """
CREATE OR REPLACE TABLE labelled AS
SELECT
  CONCAT('u', CAST(number AS STRING)) AS user_id,
  CONCAT('u', CAST(number AS STRING)) AS sampled_by,
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

TOY = replace(
    shops.SHOP,
    features={"level": "number", "noise": "number"},
    baseline=Baseline(feature="noise", ascending=True),
    candidates=(
        Candidate("linear", "LogisticRegression", {"C": 0.1, "max_iter": 1000}),
        Candidate(
            "boosted",
            "HistGradientBoostingClassifier",
            {"max_iter": 40, "early_stopping": False, "min_samples_leaf": 100},
        ),
    ),
)


# Few rows of label 1, more of it than may be read, and fewer rows than may be read.
QUICKLY_COUNTED = {(10_400_000, 0.001), (100_000_000, 0.4), (100_000, 0.055)}


@pytest.fixture(scope="module")
def warehouse(module_workplace) -> Iterator[Warehouse]:
    opened = Warehouse.open(Settings.from_environment(module_workplace.environment))
    yield opened
    opened.close()


class Labelled:
    """The table of labelled rows of seven dates, made anew where others are wanted."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._last: tuple[dict[str, float], pa.Table] | None = None

    def rows(self, users: int, base_rate: float) -> pa.Table:
        """Have the table hold rows of so many users, and return them."""
        wanted = {"users": users, "base_rate": base_rate}
        if self._last is None or self._last[0] != wanted:
            self._warehouse.execute(MADE, wanted)
            rows = self._warehouse.table("SELECT * FROM labelled", {})
            self._last = wanted, rows
        return self._last[1]


@pytest.fixture(scope="module")
def labelled(warehouse) -> Labelled:
    return Labelled(warehouse)


def read(warehouse: Warehouse, maximum: int) -> pa.Table:
    return warehouse.table(SAMPLED, {"maximum_rows": maximum})


def counts(rows: pa.Table, column: str | None = None) -> dict[Any, float]:
    """Return rows, or the sums of a column, by date and label."""
    totals: dict[Any, float] = defaultdict(float)
    for row in rows.to_pylist():
        totals[row["as_of"], row["label"]] += row[column] if column else 1
    return dict(totals)


class TestCounts:
    @pytest.mark.parametrize(
        ("rows", "base_rate"),
        [
            pytest.param(
                *each, marks=() if each in QUICKLY_COUNTED else pytest.mark.long
            )
            for each in itertools.product(ROWS, BASE_RATES)
        ],
    )
    def test_are_exact_below_a_maximum(self, warehouse, rows, base_rate):
        """At any size and base rate: never more rows than the maximum and hardly fewer,
        of both classes; weighted counts of every date and label are the true ones."""
        drawn = sample(warehouse, Population(rows, base_rate))

        assert drawn.kept_rows <= MAXIMUM
        assert drawn.kept_rows >= 0.995 * min(drawn.rows, MAXIMUM)
        assert drawn.kept[1] >= min(drawn.totals[1], 10_000)
        assert drawn.kept[0] >= min(drawn.totals[0], 100_000)
        assert drawn.worst_date < 1e-9
        for label in (0, 1):
            assert drawn.weighted[label] == pytest.approx(drawn.totals[label], 1e-9)

    def test_of_the_large_property_leave_negatives(self, warehouse):
        """Defect: 400,000 users at 26 dates and 5.5%: all 570,992 rows of label 1 were
        read and 12 of 9.8 million of label 0, each weighing 9.8 million / 12."""
        drawn = sample(warehouse, Population(10_400_000, 0.055))

        assert drawn.totals[1] > MAXIMUM
        assert drawn.kept_rows <= MAXIMUM
        assert drawn.kept[0] > 300_000
        assert drawn.largest_weight < 100

    @pytest.mark.parametrize("maximum", [1_000, 50_000_000])
    @pytest.mark.parametrize(
        "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]
    )
    def test_hold_for_the_settings_extremes(self, warehouse, maximum, seed):
        """From the least to the largest maximum that can be set, of 10^8 rows."""
        drawn = sample(warehouse, Population(100_000_000, 0.055, seed), maximum=maximum)

        assert 0.9 * maximum <= drawn.kept_rows <= maximum
        assert min(drawn.kept.values()) > 0
        for label in (0, 1):
            assert drawn.weighted[label] == pytest.approx(drawn.totals[label], 1e-9)


@pytest.fixture
def whole(labelled) -> pa.Table:
    """Three thousand users at seven dates, a tenth of the rows label 1."""
    return labelled.rows(3_000, 0.1)


class TestRows:
    @pytest.mark.parametrize("maximum", [1_000, 20_999])
    def test_of_a_user_stay_together(self, warehouse, whole, maximum):
        """A user is read as a whole, in both classes, or not at all; there are at most
        so many rows, each once and unchanged."""
        rows = read(warehouse, maximum)
        theirs = Counter(rows["user_id"].to_pylist())
        key = ["user_id", "as_of"]
        both = rows.drop_columns(["weight"]).sort_by(
            [(name, "ascending") for name in key]
        )
        kept = whole.filter(
            pc.is_in(whole["user_id"], value_set=pa.array(list(theirs)))
        ).sort_by([(name, "ascending") for name in key])

        assert 0.9 * maximum <= len(rows) <= maximum
        assert set(theirs.values()) == {7}
        assert both.equals(kept.select(both.column_names))

    @pytest.mark.parametrize("maximum", [1_000, 15_000])
    def test_stand_for_those_left_out(self, warehouse, whole, maximum):
        """Of every date and label weights add up to the rows that there are."""
        rows = read(warehouse, maximum)
        true = counts(whole)

        assert counts(rows, "weight") == {
            key: pytest.approx(count) for key, count in true.items()
        }
        assert pc.min(rows["weight"]).as_py() >= 1

    def test_weigh_one_where_none_is_left_out(self, warehouse, whole):
        """Up to the maximum all rows are read, and none stands for another."""
        rows = read(warehouse, len(whole))

        assert len(rows) == len(whole)
        assert set(rows["weight"].to_pylist()) == {1.0}

    def test_are_the_same_again(self, warehouse, whole):
        """A rerun reads the same rows, and a smaller maximum some of those."""
        users = [
            set(read(warehouse, maximum)["user_id"].to_pylist())
            for maximum in (2_000, 2_000, 4_000)
        ]

        assert users[0] == users[1] < users[2]

    def test_without_a_class_are_sampled_all_the_same(self, warehouse, labelled):
        """Where nobody has label 1 the maximum is all the others'."""
        whole = labelled.rows(1_000, 0.0)
        rows = read(warehouse, 2_000)

        assert set(whole["label"].to_pylist()) == {0}
        assert 1_900 <= len(rows) <= 2_000
        assert pc.sum(rows["weight"]).as_py() == pytest.approx(len(whole))


class TestCalibration:
    @pytest.mark.parametrize(
        ("base_rate", "users"),
        [
            pytest.param(0.001, 60_000, marks=pytest.mark.long),
            (0.01, 20_000),
            *(
                pytest.param(rate, 20_000, marks=pytest.mark.long)
                for rate in BASE_RATES[2:]
            ),
        ],
    )
    def test_is_that_of_all_rows(self, warehouse, labelled, base_rate, users):
        """Trained on a sample of the rows, the mean probability of all users of the
        newest date is within 2% of their base rate, from 0.1% to 40%."""
        whole = labelled.rows(users, base_rate)
        maximum = len(whole) // 4
        rows = read(warehouse, maximum)
        settings = altered(
            Settings(project="p"), minimum_training_rows=100, minimum_conversions=20
        )
        spans = Timeframe(lookback_days=60, horizon_days=7, settle_days=3)
        trained = fit.train(
            learning_rows.of_users(rows, TOY, spans, settings=settings),
            TOY,
            preprocessor=None,
            settings=settings,
        )
        newest = whole.filter(pc.equal(whole["as_of"], date(2026, 2, 16)))
        mean = float(trained.served.scores(newest, TOY).mean())
        true = float(np.mean(newest["label"].to_numpy()))

        assert len(rows) <= maximum
        assert min(trained.parts.sampling.values()) < 1
        assert true == pytest.approx(base_rate, rel=0.05)
        assert mean == pytest.approx(true, rel=0.02)
