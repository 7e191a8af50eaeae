"""Enrichment: the index of a postcode."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from propensity.events.enrichment import PostcodeIndex

INDEX = PostcodeIndex(
    pa.table(
        {
            "postcode": ["AB101AB", "AB10", "M1", "10115", "SW1A1AA", "B1", "B2"],
            "socioeconomic_idx": [3.25, 2.5, 4.0, 1.5, 9.0, None, np.inf],
        }
    )
)


@pytest.mark.parametrize(
    ("postcode", "value"),
    [
        *(("AB10 1AB", 3.25), (" aB10\t1Ab\n", 3.25), ("AB10-1AB.", 3.25)),
        *(("AB10\u00a01AB", 3.25), ("AB10 1AC", 2.5), ("AB10", 2.5)),
        *(("M1 9ZZ", 4.0), ("M11 9ZZ", None), ("10115", 1.5), ("D-10115", None)),
        *(("SW1A 1AB", None), ("SW1A 1AA", 9.0), ("K1A 0B1", None), ("", None)),
        *(("〒100-0001", None), ("ＡＢ１０", None), ("\0", None), ("A" * 4_096, None)),
        *(("B1 1AA", None), ("B2", None)),
    ],
)
def test_postcodes_are_found_however_they_are_written_else_by_the_outward_code(
    postcode, value
):
    """A row without a finite index is as if it were not there."""
    assert INDEX.find(postcode) == value
