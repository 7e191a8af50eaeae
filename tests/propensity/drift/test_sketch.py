"""Sketches: the values of a publication, counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.drift.sketch import NAMED_USERS, Sketches, of_scores

FEATURES = {"amount": "number", "source": "category"}


def sketched(amount, source, probability=None, *, batches=1):
    """The sketches of users, in so many batches."""
    sketches = Sketches(FEATURES)
    rows = pa.RecordBatch.from_pydict(
        {
            "amount": pa.array(amount, pa.float64(), from_pandas=True),
            "source": pa.array(source, pa.string()),
        }
    )
    p = np.full(len(amount), 0.1) if probability is None else np.asarray(probability)
    for part in np.array_split(np.arange(len(amount)), batches):
        sketches.add(rows.take(pa.array(part)), p[part])
    return sketches


class TestNumbers:
    @given(st.floats(1e-6, 1e9), st.booleans())
    def test_a_bucket_is_an_eighth_of_a_power_of_two(self, value, is_negative):
        """Its end nearer to 0 names it, whatever the week."""
        signed = -value if is_negative else value
        [[end, users]] = sketched([signed], ["a"]).features()["amount"].counts.items()

        assert users == 1
        assert np.sign(end) == np.sign(signed)
        assert abs(end) <= value < abs(end) * 1.125

    def test_zeros_are_one_bucket_and_nulls_are_missing(self):
        """Also a negative zero, which pipelines write."""
        amount = sketched([0.0, -0.0, None, 8.0], ["a"] * 4).features()["amount"]

        assert (amount.users, amount.missing) == (4, 1)
        assert amount.counts == {0.0: 2, 8.0: 1}


class TestCategories:
    def test_rare_values_are_counted_together(self):
        """Under ten users a value could be about somebody: it has no name here."""
        source = ["google"] * NAMED_USERS + ["x"] * (NAMED_USERS - 1) + [None]
        counted = sketched([1.0] * len(source), source).features()["source"]

        assert counted.counts == {"google": NAMED_USERS, None: NAMED_USERS - 1}
        assert counted.missing == 1

    @pytest.mark.long
    def test_memory_is_bounded_whatever_is_in_it(self):
        """Fifty thousand values of a user each, and one of many."""
        source = [f"v{n}" for n in range(50_000)] + ["google"] * 50
        counted = sketched([1.0] * len(source), source, batches=5).features()["source"]

        assert counted.counts == {"google": 50, None: 50_000}


class TestBatches:
    @given(
        st.lists(
            st.tuples(
                st.one_of(st.none(), st.floats(-1e6, 1e6)),
                st.sampled_from(["a", "b", None]),
                st.floats(0, 1),
            ),
            min_size=1,
            max_size=60,
        ),
        st.integers(1, 5),
    )
    def test_are_of_no_effect(self, users, batches):
        """However users are cut into batches, the sketch is the same."""
        columns = [list(column) for column in zip(*users, strict=True)]
        whole, cut = sketched(*columns), sketched(*columns, batches=batches)

        assert whole.features() == cut.features()
        assert np.array_equal(whole.scores().users, cut.scores().users)
        assert np.allclose(whole.scores().mean, cut.scores().mean)


class TestScores:
    def test_have_their_mean_and_its_error(self):
        """As of the single probabilities."""
        p = np.random.default_rng(1).beta(1, 9, 5_000)
        value, error = sketched([1.0] * 5_000, ["a"] * 5_000, p).scores().level()

        assert value == pytest.approx(np.log(p.mean()), abs=1e-9)
        assert error == pytest.approx(p.std() / p.mean() / 5_000**0.5, rel=1e-3)

    def test_are_a_sketch_too(self):
        """All users are in it, those of probability 0 and 1 as well."""
        p = [0.0, 0.25, 0.25, 1.0]
        sketch = of_scores(sketched([1.0] * 4, ["a"] * 4, p).scores())

        assert sketch.users == sum(sketch.counts.values()) == 4
        assert sketch.counts[0.25] == 2
