"""
Expected value, specified: what buyers pay is learned forward in time, and sums stay.

Users are made with a known probability and a known mean of what they pay.
"""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import value
from propensity.learning.preprocessor import default_preprocessor, fitted
from propensity.learning.rows import Block, Parts, Slice
from propensity.learning.trained import Model
from propensity.learning.value import AMOUNT
from propensity.timeframe import Split

FIRST = date(2026, 1, 5)
SECOND = date(2026, 1, 12)
WEEKS, USERS = 10, 1_200
DATES = [FIRST + timedelta(weeks=week) for week in range(WEEKS)]
USE_CASE = SimpleNamespace(
    features={"visits": "number", "basket": "number", "source": "category"}, model=None
)


def drawn(
    *, seed: int = 1, slope: float = 1.0, scale: float = 20.0
) -> tuple[pa.Table, np.ndarray]:
    """
    Return labelled rows, and their probabilities.

    Args:
        seed: Of the draws.
        slope: How the logarithm of an amount follows the baskets of before.
        scale: Of the amounts.
    """
    random = np.random.default_rng(seed)
    count = WEEKS * USERS
    visits, basket = random.normal(size=(2, count))
    source = random.choice(["mail", "search"], count)
    probability = 1 / (1 + np.exp(2.0 - 0.5 * visits))
    label = (random.random(count) < probability).astype(np.int64)
    noise = random.gamma(2.0, 0.5, count)
    amount = np.round(scale * np.exp(slope * basket) * noise + 0.01, 2)
    rows = pa.table(
        {
            "as_of": np.repeat(np.array(DATES, dtype="datetime64[D]"), USERS),
            "user_id": [f"u{n % USERS}" for n in range(count)],
            "visits": visits,
            "basket": basket,
            "source": source,
            "label": label,
            "weight": np.ones(count),
            AMOUNT: pa.array(amount, mask=label == 0),
        }
    )
    return rows.set_column(0, "as_of", rows["as_of"].cast(pa.date32())), probability


def learned(rows: pa.Table, probability: np.ndarray) -> value.Valued | None:
    """Split rows by time as a training does, beside a classifier that is right."""
    every = Slice.of(rows)
    before = every.between(0, 9 * USERS)
    parts = Parts(
        split=Split(
            train=tuple(DATES[:3]),
            calibrate=tuple(DATES[3:9]),
            holdout=tuple(DATES[9:]),
        ),
        before=before,
        blocks=[
            Block(fit_end=n * USERS, first=n * USERS, end=(n + 3) * USERS)
            for n in (3, 6)
        ],
        fitting=before,
        holdout=every.between(9 * USERS),
        every=every,
    )
    encoder = fitted(
        default_preprocessor(USE_CASE), parts.fitting, dict(USE_CASE.features)
    )
    model = Model(preprocessor=encoder, classifier=None)
    held = SimpleNamespace(rows=parts.holdout, probability=probability[9 * USERS :])
    trained = SimpleNamespace(parts=parts, measured=model, served=model, holdout=held)
    return value.train(trained, USE_CASE, seed=1)


def with_column(rows: pa.Table, amount: np.ndarray) -> pa.Table:
    is_buyer = rows["label"].to_numpy() == 1
    return rows.drop_columns([AMOUNT]).append_column(
        AMOUNT, pa.array(amount, mask=~is_buyer)
    )


def amounts(rows: pa.Table) -> np.ndarray:
    return np.nan_to_num(rows[AMOUNT].to_numpy())


@pytest.fixture(scope="module")
def shop() -> tuple[pa.Table, np.ndarray]:
    return drawn()


@pytest.fixture(scope="module")
def valued(shop) -> value.Valued:
    value_model = learned(*shop)
    assert value_model is not None
    return value_model


class TestTraining:
    def test_predicts_what_is_to_come(self, shop, valued):
        """Within what 1,500 buyers tell: a standard error of 5% of the true sum."""
        rows, probability = shop
        basket = rows["basket"].to_numpy()[9 * USERS :]
        truth = float((probability[9 * USERS :] * 20 * np.exp(basket)).sum())

        assert float(valued.predicted) == pytest.approx(truth, rel=0.12)
        assert valued.algorithm == value.TREES

    def test_takes_the_mean_where_nothing_tells_more(self):
        value_model = learned(*drawn(slope=0.0))

        assert value_model.algorithm == value.MEAN
        assert value_model.model.preprocessor is None
        assert value_model.model.mean == pytest.approx(20.0, rel=0.05)

    def test_learns_nothing_of_the_holdout_for_its_figures(self, shop, valued):
        """Other amounts there change what is observed, and not what is predicted."""
        rows, probability = shop
        later = np.arange(len(rows)) >= 9 * USERS

        other = learned(
            with_column(rows, amounts(rows) * np.where(later, 7.0, 1.0)), probability
        )

        assert other.predicted == valued.predicted
        assert other.observed > valued.observed

    def test_is_not_led_by_a_single_buyer(self, shop, valued):
        """One who pays as much as all others moves the sum by a twentieth at most."""
        rows, probability = shop
        paid = amounts(rows)
        whale = np.flatnonzero(paid)[5]
        paid[whale] = paid.sum()

        other = learned(with_column(rows, paid), probability)

        assert float(other.predicted) == pytest.approx(float(valued.predicted), rel=0.1)

    def test_without_amounts_there_are_no_values(self, shop):
        rows, probability = shop

        assert learned(rows.drop_columns([AMOUNT]), probability) is None


class TestAmountsOfRows:
    ROWS = pa.table(
        {
            "as_of": pa.array([FIRST, FIRST, FIRST, SECOND]),
            "user_id": ["a", "b", "c", "a"],
            "label": [1, 0, 1, 1],
        }
    )

    def paid(self, *entries) -> list[pa.RecordBatch]:
        kind = pa.schema(
            [
                ("as_of", pa.date32()),
                ("user_id", pa.string()),
                ("amount", pa.decimal128(38, 9)),
            ]
        )
        names = kind.names
        return [
            pa.RecordBatch.from_pylist([dict(zip(names, entry, strict=True))], kind)
            for entry in entries
        ]

    def test_are_of_the_same_user_and_date(self):
        """In any order; those of others, and of users who do not buy, are left out."""
        rows = value.with_amounts(
            self.ROWS,
            self.paid(
                (SECOND, "a", 7),
                (FIRST, "stranger", 1_000),
                (FIRST, "b", 1_000),
                (FIRST, "a", 5),
                (FIRST, "c", None),
            ),
        )

        assert rows[AMOUNT].to_pylist() == [5, None, None, 7]
        assert rows.drop_columns([AMOUNT]) == self.ROWS

    def test_of_many_stand_at_their_rows(self):
        """However a join orders them."""
        count = 300_000
        users = pa.array([f"{n}" for n in range(count)])
        many = pa.table(
            {
                "as_of": pa.array([FIRST] * count),
                "user_id": users,
                "label": np.ones(count, np.int64),
            }
        )
        paid = many.drop_columns(["label"]).append_column("amount", [range(count)])
        order = np.random.default_rng(1).permutation(count)
        before = pa.cpu_count()
        pa.set_cpu_count(4)
        try:
            found = value.with_amounts(many, paid.take(order).to_batches())
        finally:
            pa.set_cpu_count(before)

        assert np.array_equal(found[AMOUNT].to_numpy(), np.arange(count))

    @pytest.mark.parametrize("paid", [[], [(FIRST, "a", None)], [(FIRST, "x", 3)]])
    def test_where_none_is_known_leave_the_rows_as_they_are(self, paid):
        assert value.with_amounts(self.ROWS, self.paid(*paid)) is self.ROWS
