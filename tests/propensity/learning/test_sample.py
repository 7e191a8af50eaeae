"""
Rows of a fit: all of them, and of very many a seeded sample.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.learning import candidates, data, sample
from propensity.learning.candidates import side_by_side
from propensity.settings import Settings
from propensity.waiting.threads import THREADS
from tests.propensity.learning.shops import (
    BOOSTED,
    FOREST,
    LINEAR,
    MEAN,
    SHOP,
    drawn,
    fit_sizes,
    propensity,
    snapshots,
    table,
    train,
)

ALL = (LINEAR, BOOSTED, FOREST, MEAN)


@pytest.fixture
def few(monkeypatch):
    """A training takes samples of 800 rows."""
    monkeypatch.setattr(sample, "FIT_ROWS", 800)


class TestPlaces:
    def test_are_all_by_default(self):
        """No fit is of a sample unless the setting reads more rows."""
        assert Settings(project="p").maximum_training_rows <= sample.FIT_ROWS

    def test_are_all_of_few_rows(self):
        """The seed decides nothing, and no row is copied."""
        rows = data.slice_of(snapshots(3, 50), [])

        assert sample.places(7, seed=3).tolist() == [*range(7)]
        assert sample.sampled(rows, seed=3) is rows

    @given(count=st.integers(801, 5_000), seed=st.integers(0, 9))
    def test_of_many_are_a_sample_in_order(self, count, seed):
        """So many rows, each once, in time order; the same ones for the same seed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sample, "FIT_ROWS", 800)
            places = sample.places(count, seed=seed)
            again = sample.places(count, seed=seed)

        assert len(places) == 800
        assert np.all(np.diff(places) > 0)
        assert places[0] >= 0
        assert places[-1] < count
        assert places.tolist() == again.tolist()


class TestTraining:
    def test_of_many_rows_fits_a_sample_and_judges_all(self, few, monkeypatch):
        """No fit reads more; figures are of every row, and the card says so."""
        sizes = fit_sizes(monkeypatch)
        rows = snapshots(9, 300)
        training = train(rows, candidates=ALL)

        assert max(sizes) == 800 == training.fit_rows
        assert sum(training.rows.values()) == len(rows)
        assert len(training.choice.probability) == training.rows["calibrate"] == 300
        assert train(snapshots(5, 100), candidates=(LINEAR,)).fit_rows is None

    def test_of_many_rows_is_as_good(self, few):
        """What a sample says of rows that were not held out hardly differs."""
        columns = drawn(9, 400, seed=4)
        rows = table(columns, propensity(columns))
        sampled = train(rows, candidates=(LINEAR,)).quality["roc_auc"]

        assert sampled == pytest.approx(propensity_area(rows), abs=0.05)


def propensity_area(rows) -> float:
    """ROC AUC of the same holdout by a model of all rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "FIT_ROWS", 10**9)
        return train(rows, candidates=(LINEAR,)).quality["roc_auc"]


class TestSideBySide:
    @pytest.mark.parametrize("rows", [1, candidates.PARALLEL_ROWS + 1])
    def test_results_are_in_order(self, rows):
        """Few rows beside each other, many one after another: the same results."""
        fits = [lambda number=number: number * number for number in range(20)]

        for pools in (THREADS.pool, None):
            results = side_by_side(fits, rows=rows, pools=pools)
            assert results == [number**2 for number in range(20)]
            assert side_by_side([], rows=rows, pools=pools) == []

    def test_models_do_not_depend_on_it(self, monkeypatch):
        """Fitted alone on all processors, every model and figure has the same bits."""
        rows = snapshots(6, 120)
        beside = train(rows, candidates=ALL, pools=THREADS.pool)
        monkeypatch.setattr(candidates, "PARALLEL_ROWS", 0)
        alone = train(rows, candidates=ALL)

        assert beside.probability.tolist() == alone.probability.tolist()
        assert beside.quality == alone.quality
        assert beside.importance == alone.importance


class TestOrder:
    def test_rows_in_order_are_not_copied(self):
        """What is sorted stays the same table, and anything else is sorted."""
        rows = snapshots(3, 20)
        order = data.in_order(rows)
        turned = order.take([*range(len(order))][::-1])

        assert data.in_order(order) is order
        assert data.in_order(turned).equals(order)

    def test_neighbouring_dates_share_the_rows_memory(self):
        """A part of sorted rows is a view of them; of dates apart it is a copy."""
        rows = data.in_order(snapshots(4, 20)).combine_chunks()
        dates = sorted(set(rows["as_of"].to_pylist()))
        whole = rows["spend"].chunk(0).buffers()[1].address

        view = data.slice_of(rows, dates[1:3]).rows
        apart = data.slice_of(rows, [dates[0], dates[3]]).rows
        assert view["spend"].chunk(0).buffers()[1].address == whole
        assert view["as_of"].to_pylist() == [dates[1]] * 20 + [dates[2]] * 20
        assert apart["as_of"].to_pylist() == [dates[0]] * 20 + [dates[3]] * 20
        assert SHOP.features.keys() <= {*apart.column_names}
