"""
The sample that training reads: users as a whole, at most so many rows, and weights that
are exact, whatever the number of rows and the base rate.

Which users are read is decided on counts by bucket of a hash, and so can be looked at
for a hundred million rows without one of them.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from google.cloud import bigquery

from propensity.gcp.warehouse import Warehouse
from propensity.learning import fit
from propensity.learning import rows as learning_rows
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import Timeframe
from propensity.usecases import Baseline, Candidate
from tests.constants import altered
from tests.propensity.learning import shops

SNAPSHOTS = 26
FIRST = date(2026, 1, 5)
MAXIMUM = Settings(project="p").maximum_training_rows
# As sampled_rows.sql has it.
BUCKETS = 8_192

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


@pytest.fixture(scope="module")
def warehouse(module_workplace) -> Iterator[Warehouse]:
    opened = Warehouse.open(Settings.from_environment(module_workplace.environment))
    yield opened
    opened.close()


def made(warehouse: Warehouse, users: int, base_rate: float) -> pa.Table:
    """Have the table of labelled rows hold some of so many users, and return them."""
    warehouse.execute(MADE, {"users": users, "base_rate": base_rate})
    return warehouse.table("SELECT * FROM labelled")


def read(warehouse: Warehouse, maximum: int) -> pa.Table:
    return warehouse.table(SAMPLED, {"maximum_rows": maximum})


def population(total: int, base_rate: float) -> pa.Table:
    """
    Return counts of rows by kind of user, bucket, date and class.

    A fifth of the users (more, where they must be) buys, each at every date with the
    same chance; the others never do. A bucket is the fourth root of a hash.
    """
    random = np.random.default_rng(1)
    users, buyers = total // SNAPSHOTS, max(0.2, 1.25 * base_rate)
    has_positive = buyers * (1 - (1 - base_rate / buyers) ** SNAPSHOTS)
    count = int(random.binomial(users, has_positive))
    share = np.diff(np.linspace(0, 1, BUCKETS + 1) ** 4)
    buying = random.multinomial(count, share)
    other = random.multinomial(users - count, share)
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    for number in range(SNAPSHOTS):
        hits = random.multivariate_hypergeometric(
            buying,
            min(count, int(random.binomial(users, base_rate))),
            method="marginals",
        )
        day = np.datetime64(FIRST + timedelta(weeks=number))
        for kind, label, rows in (
            (True, 1, hits),
            (True, 0, buying - hits),
            (False, 0, other),
        ):
            there = np.flatnonzero(rows)
            parts["has_positive"].append(np.full(len(there), kind))
            parts["bucket"].append(there)
            parts["as_of"].append(np.full(len(there), day))
            parts["class"].append(np.full(len(there), label))
            parts["row_count"].append(rows[there])
    return pa.table({name: np.concatenate(each) for name, each in parts.items()})


def sample(warehouse: Warehouse, counts: pa.Table, maximum: int) -> pa.Table:
    """Return rows that there are, are kept, and are stood for, by date and class."""
    file = io.BytesIO()
    pq.write_table(counts, file)
    settings = warehouse.settings
    warehouse.client.load_table_from_file(
        file,
        f"{settings.project}.{settings.dataset}.buckets",
        rewind=True,
        job_config=bigquery.LoadJobConfig(
            source_format="PARQUET", write_disposition="WRITE_TRUNCATE"
        ),
    ).result()
    weights = warehouse.table(
        f"WITH {statement('sampling_weights')} SELECT * FROM weights",
        {"maximum_rows": maximum},
    )
    rows = counts.join(weights, ["as_of", "has_positive", "class"])
    is_kept = pc.fill_null(pc.less_equal(rows["bucket"], rows["last_bucket"]), False)
    kept = pc.multiply(rows["row_count"], pc.cast(is_kept, pa.int64()))
    weighted = pc.multiply(kept, pc.fill_null(rows["weight"], 0.0))
    rows = rows.append_column("kept", kept).append_column("weighted", weighted)
    return rows.group_by(["as_of", "class"]).aggregate(
        [("row_count", "sum"), ("kept", "sum"), ("weighted", "sum"), ("weight", "max")]
    )


@pytest.mark.parametrize(
    ("total", "base_rate", "maximum"),
    [
        # Few rows of label 1, more of it than may be read, and fewer rows than may be.
        (10_400_000, 0.001, MAXIMUM),
        (100_000_000, 0.4, MAXIMUM),
        (100_000, 0.055, MAXIMUM),
        # Defect: 400,000 users at 26 dates and 5.5%: all 570,992 rows of label 1 were
        # read and 12 of 9.8 million of label 0, each weighing 9.8 million / 12.
        (10_400_000, 0.055, MAXIMUM),
        # The settings' extremes.
        (100_000_000, 0.055, 1_000),
        (100_000_000, 0.055, 50_000_000),
    ],
)
def test_counts_are_exact_below_a_maximum(warehouse, total, base_rate, maximum):
    """Never more rows than the maximum and hardly fewer, of both classes; weighted
    counts of every date and label are the true ones."""
    cells = sample(warehouse, population(total, base_rate), maximum)
    there, kept = pc.sum(cells["row_count_sum"]).as_py(), pc.sum(cells["kept_sum"])
    by_class = cells.group_by("class").aggregate([("kept_sum", "sum")]).to_pylist()

    assert 0.9 * min(there, maximum) <= kept.as_py() <= maximum
    assert min(row["kept_sum_sum"] for row in by_class) > 0
    for cell in cells.to_pylist():
        assert cell["weighted_sum"] == pytest.approx(cell["row_count_sum"], rel=1e-9)
    if maximum == MAXIMUM and base_rate == 0.055:
        assert pc.max(cells["weight_max"]).as_py() < 100


class TestRows:
    @pytest.fixture
    def whole(self, warehouse) -> pa.Table:
        """Three thousand users at seven dates, a tenth of the rows label 1."""
        return made(warehouse, 3_000, 0.1)

    @pytest.mark.parametrize("maximum", [1_000, 20_999])
    def test_of_a_user_stay_together(self, warehouse, whole, maximum):
        """A user is read as a whole, in both classes, or not at all; there are at most
        so many rows, each once and unchanged, and they stand for those left out."""
        rows = read(warehouse, maximum)
        theirs = Counter(rows["user_id"].to_pylist())
        order = [("user_id", "ascending"), ("as_of", "ascending")]
        kept = whole.filter(pc.is_in(whole["user_id"], pa.array(list(theirs))))
        sums = rows.group_by(["as_of", "label"]).aggregate([("weight", "sum")])
        true = Counter((row["as_of"], row["label"]) for row in whole.to_pylist())

        assert 0.9 * maximum <= len(rows) <= maximum
        assert set(theirs.values()) == {7}
        found = rows.drop_columns(["weight"]).sort_by(order)
        assert found.equals(kept.sort_by(order).select(found.column_names))
        assert {
            (row["as_of"], row["label"]): row["weight_sum"] for row in sums.to_pylist()
        } == {key: pytest.approx(count) for key, count in true.items()}

    def test_weigh_one_where_none_is_left_out(self, warehouse, whole):
        """Up to the maximum all rows are read, and none stands for another."""
        rows = read(warehouse, len(whole))

        assert len(rows) == len(whole)
        assert set(rows["weight"].to_pylist()) == {1.0}

    @pytest.mark.usefixtures("whole")
    def test_are_the_same_again(self, warehouse):
        """A rerun reads the same rows, and a smaller maximum some of those."""
        users = [
            set(read(warehouse, maximum)["user_id"].to_pylist())
            for maximum in (2_000, 2_000, 4_000)
        ]

        assert users[0] == users[1] < users[2]

    def test_without_a_class_are_sampled_all_the_same(self, warehouse):
        """Where nobody has label 1 the maximum is all the others'."""
        whole = made(warehouse, 1_000, 0.0)
        rows = read(warehouse, 2_000)

        assert set(whole["label"].to_pylist()) == {0}
        assert 1_900 <= len(rows) <= 2_000
        assert pc.sum(rows["weight"]).as_py() == pytest.approx(len(whole))


def test_a_model_of_a_sample_is_calibrated_on_all_rows(warehouse):
    """The mean probability of all users of the newest date is within 2% of their base
    rate."""
    whole = made(warehouse, 20_000, 0.01)
    settings = altered(
        Settings(project="p"), minimum_training_rows=100, minimum_conversions=20
    )
    spans = Timeframe(lookback_days=60, horizon_days=7, settle_days=3)
    rows: Any = read(warehouse, len(whole) // 4)
    trained = fit.train(
        learning_rows.of_users(rows, TOY, spans, settings=settings),
        TOY,
        preprocessor=None,
        settings=settings,
    )
    newest = whole.filter(pc.equal(whole["as_of"], date(2026, 2, 16)))
    mean = float(trained.served.scores(newest, TOY).mean())
    true = float(np.mean(newest["label"].to_numpy()))

    assert min(trained.parts.sampling.values()) < 1
    assert mean == pytest.approx(true, rel=0.02)
