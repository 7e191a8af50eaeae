"""
Trees as arrays of nodes, specified: what their narrow thresholds divide.
"""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.models.nodes import narrowed
from tests.propensity.models.test_trees import stump

WIDE = st.floats(allow_nan=False, width=64)
NARROW = st.floats(width=32)


class TestNarrowed:
    @given(threshold=WIDE, value=NARROW)
    def test_divide_float32_as_in_float64(self, threshold, value):
        """Any value, also a missing one, and infinite thresholds."""
        tree = stump()
        known = tree._replace(threshold=np.full(len(tree.left), threshold))

        [narrow] = narrowed([known])

        assert narrow.threshold.dtype == np.float32
        assert (np.float32(value) <= narrow.threshold[0]) == (value <= threshold)

    @example(value=float(np.finfo(np.float32).min))
    @given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
    def test_divide_neighbours_of_a_value(self, value):
        """A threshold just below or above a value of float32 is not rounded to it."""
        for towards in (-np.inf, value, np.inf):
            near = np.nextafter(value, towards)
            tree = stump()
            known = tree._replace(threshold=np.full(len(tree.left), near))

            [narrow] = narrowed([known])

            assert (np.float32(value) <= narrow.threshold[0]) == (value <= near)
