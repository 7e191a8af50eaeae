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
from propensity.learning.amounts import AMOUNT, capped
from propensity.learning.data import OF_USERS, Parts, slice_of
from propensity.learning.preprocessor import default_preprocessor, fitted
from propensity.timeframe import Block, Split

FIRST = date(2026, 1, 5)
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


def split_of(rows: pa.Table, probability: np.ndarray) -> tuple[Parts, SimpleNamespace]:
    """Split rows by time as a training does, with a classifier that is right."""
    judged = [DATES[3:6], DATES[6:9]]
    blocks = [
        Block(fitting=tuple(DATES[: DATES.index(days[0])]), judged=tuple(days))
        for days in judged
    ]
    choosing = tuple(DATES[3:9])
    parts = Parts(
        kind=OF_USERS,
        split=Split(
            train=tuple(DATES[:3]), calibrate=choosing, holdout=tuple(DATES[9:])
        ),
        fitting=slice_of(rows, DATES[:9]),
        choosing=slice_of(rows, choosing),
        holdout=slice_of(rows, DATES[9:]),
        blocks=tuple(blocks),
        every=slice_of(rows, DATES),
        sampling={0: 1.0, 1: 1.0},
    )
    encoder = fitted(
        default_preprocessor(USE_CASE), parts.fitting, dict(USE_CASE.features)
    )
    trained = SimpleNamespace(
        preprocessor=encoder,
        measured=(encoder, None),
        probability=probability[9 * USERS :],
        choice=SimpleNamespace(
            encoder=encoder, probability=probability[3 * USERS : 9 * USERS]
        ),
    )
    return parts, trained


def learned(rows: pa.Table, probability: np.ndarray) -> value.Valued | None:
    return value.train(*split_of(rows, probability), USE_CASE, seed=1)


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
    def test_promises_what_is_to_come(self, shop, valued):
        """Within what 1,500 buyers tell: a standard error of 5% of the true sum."""
        rows, probability = shop
        basket = rows["basket"].to_numpy()[9 * USERS :]
        truth = float((probability[9 * USERS :] * 20 * np.exp(basket)).sum())

        figures = valued.figures

        assert float(figures["value_promised"]) == pytest.approx(truth, rel=0.12)

    def test_knows_who_pays_more(self, valued):
        assert valued.algorithm == value.TREES
        assert valued.losses[value.TREES] < valued.losses[value.MEAN]

    def test_takes_the_mean_where_nothing_tells_more(self):
        value_model = learned(*drawn(slope=0.0))

        assert value_model.algorithm == value.MEAN
        assert value_model.model.preprocessor is None
        assert value_model.model.mean == pytest.approx(20.0, rel=0.05)

    def test_is_the_same_twice(self, shop, valued):
        rows, _ = shop

        again = learned(*shop)

        assert again.figures == valued.figures
        assert np.array_equal(
            again.model.amounts_of(rows), valued.model.amounts_of(rows)
        )

    @pytest.mark.parametrize(
        "rate", [0.001, pytest.param(1_000.0, marks=pytest.mark.long)]
    )
    def test_does_not_depend_on_the_currency(self, shop, valued, rate):
        """Amounts in another one give the same choice, and values at its rate."""
        rows, probability = shop

        other = learned(with_column(rows, amounts(rows) * rate), probability)

        assert other.algorithm == valued.algorithm
        assert other.model.amounts_of(rows) == pytest.approx(
            rate * valued.model.amounts_of(rows), rel=1e-6
        )

    def test_keeps_the_sum_of_the_buyers_it_learned_from(self, shop, valued):
        """But for what is cut off amounts that dominate."""
        rows, _ = shop
        is_buyer = rows["label"].to_numpy() == 1
        kept = capped(amounts(rows)[is_buyer], np.ones(is_buyer.sum()))

        promised = valued.model.amounts_of(rows)[is_buyer]

        assert promised.sum() == pytest.approx(kept.sum())

    def test_learns_nothing_of_the_holdout_for_its_figures(self, shop, valued):
        """Other amounts there change what came, and not what was promised."""
        rows, probability = shop
        later = np.arange(len(rows)) >= 9 * USERS

        other = learned(
            with_column(rows, amounts(rows) * np.where(later, 7.0, 1.0)), probability
        )

        assert other.figures["value_promised"] == valued.figures["value_promised"]
        assert other.figures["value_observed"] > valued.figures["value_observed"]

    def test_is_not_led_by_a_single_buyer(self, shop, valued):
        """One who pays as much as all others moves the sum by a twentieth at most."""
        rows, probability = shop
        paid = amounts(rows)
        whale = np.flatnonzero(paid)[5]
        paid[whale] = paid.sum()

        other = learned(with_column(rows, paid), probability)

        assert float(other.figures["value_promised"]) == pytest.approx(
            float(valued.figures["value_promised"]), rel=0.1
        )

    @pytest.mark.parametrize("amount", [0.0, -5.0, np.nan])
    def test_learns_nothing_where_nothing_was_paid(self, shop, amount):
        """Refunds, and purchases without an amount, count as nothing."""
        rows, probability = shop

        assert (
            learned(with_column(rows, np.full(len(rows), amount)), probability) is None
        )

    def test_without_amounts_there_are_no_values(self, shop):
        rows, probability = shop

        assert learned(rows.drop_columns([AMOUNT]), probability) is None

    def test_gaps_and_refunds_count_as_nothing(self, shop):
        """A third each without an amount, and with a negative one."""
        rows, probability = shop
        paid = amounts(rows)
        paid[::3], paid[1::3] = np.nan, -50.0

        value_model = learned(with_column(rows, paid), probability)

        assert value_model.without_amount == pytest.approx(
            value_model.buyers * 2 / 3, rel=0.1
        )
        assert np.isfinite(value_model.model.amounts_of(rows)).all()

    def test_of_one_buyer_a_part_is_their_amount(self):
        """And nothing is bought in the holdout."""
        rows, probability = drawn()
        label = np.zeros(len(rows), np.int64)
        label[[0, 3 * USERS, 6 * USERS]] = 1
        place = rows.column_names.index("label")
        rows = rows.set_column(place, "label", pa.array(label))

        value_model = learned(with_column(rows, np.full(len(rows), 12.0)), probability)

        assert value_model.algorithm == value.MEAN
        assert value_model.model.mean == 12.0
        assert value_model.figures["value_observed"] == 0


class TestCard:
    def test_says_what_was_learned(self, valued):
        [(key, entry)] = value.card(valued).items()

        assert key == "value"
        assert entry["algorithm"] == value.TREES
        assert entry["value_observed"] == float(valued.figures["value_observed"])

    def test_row_has_figures_in_columns_and_the_rest_as_json(self, valued):
        card = value.card(valued)
        row = value.row(card)

        assert row["value_promised"] == card["value"]["value_promised"]
        assert '"algorithm": "boosted_trees"' in row["value"]

    def test_of_a_version_without_amounts_says_nothing(self):
        assert value.card(None) == {}
        assert set(value.row({}).values()) == {None}
