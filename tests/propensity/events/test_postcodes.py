"""
Postcodes, specified: found however they are written, else by their outward code.
"""

from __future__ import annotations

import math
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.enrichment import PostcodeIndex, normalised, outward

CODES = st.from_regex(r"[A-Z0-9]{1,9}", fullmatch=True)
TABLES = st.dictionaries(CODES, st.floats(-1e6, 1e6), max_size=20)


def index(values: dict[str, float | None]) -> PostcodeIndex:
    """The index as it is read from BigQuery."""
    return PostcodeIndex.of(
        pa.table(
            {
                "postcode": pa.array(list(values), pa.string()),
                "socioeconomic_idx": pa.array(list(values.values()), pa.float64()),
            }
        )
    )


SMALL = index({"AB101AB": 3.25, "AB10": 2.5, "M1": 4.0, "10115": 1.5, "SW1A1AA": 9.0})


class TestNormalised:
    @pytest.mark.parametrize(
        "postcode",
        [
            "AB10 1AB",
            "ab10 1ab",
            "AB101AB",
            " aB10\t1Ab\n",
            "AB10-1AB.",
            "AB10\u00a01AB",
        ],
    )
    def test_is_one_however_it_is_written(self, postcode):
        """Case, spaces and punctuation do not count."""
        assert normalised(postcode) == "AB101AB"

    @given(st.text(max_size=30))
    def test_is_ascii(self, postcode):
        """Of whatever is registered, letters and digits are left; twice is once."""
        code = normalised(postcode)

        assert re.fullmatch(r"[A-Z0-9]*", code)
        assert normalised(code) == code


class TestOutward:
    @pytest.mark.parametrize(
        ("postcode", "part"),
        [
            ("M11AA", "M1"),
            ("M601NW", "M60"),
            ("CR26XH", "CR2"),
            ("DN551PT", "DN55"),
            ("W1A1HQ", "W1A"),
            ("EC1A1BB", "EC1A"),
            ("AB101AB", "AB10"),
        ],
    )
    def test_is_the_first_part(self, postcode, part):
        """In each of the six forms of a British postcode."""
        assert outward(postcode) == part

    @pytest.mark.parametrize(
        "postcode",
        [
            *("", "AB10", "1AB", "10115", "75008", "K1A0B1", "1011AB", "AB101ABC"),
            *("ABC11AA", "NPT4JZ"),
        ],
    )
    def test_is_none_of_others(self, postcode):
        """A postcode of elsewhere, a part of one, or one without a digit in its outward
        code, as Newport's were until 1984, has none."""
        assert outward(postcode) is None


class TestFind:
    @pytest.mark.parametrize(
        ("postcode", "value"),
        [
            ("AB10 1AB", 3.25),
            ("ab101ab", 3.25),
            ("AB10 1AC", 2.5),
            ("AB10", 2.5),
            ("M1 9ZZ", 4.0),
            ("M11 9ZZ", None),
            ("10115", 1.5),
            ("D-10115", None),
            ("SW1A 1AB", None),
            ("SW1A 1AA", 9.0),
            ("K1A 0B1", None),
            ("", None),
            (" - ", None),
            ("〒100-0001", None),
            ("ＡＢ１０", None),
            ("\0", None),
            ("AB10 1AB\0", 3.25),
            ("A" * 4_096, None),
        ],
    )
    def test_takes_the_postcode_before_its_outward_code(self, postcode, value):
        """A postcode that the table has, else the median of its part of town."""
        assert SMALL.find(postcode) == value

    @given(TABLES, st.lists(CODES, max_size=20))
    def test_agrees_with_a_dict(self, values, others):
        """Every postcode of the table gives its value, and no other gives one."""
        postcodes = index(values)

        for code in [*values, *others]:
            fallback = values.get(outward(code) or "")
            assert postcodes.find(code) == values.get(code, fallback)

    @given(TABLES, st.text(max_size=20))
    def test_takes_any_text(self, values, postcode):
        """Whatever was registered is a value of the table or none."""
        assert index(values).find(postcode) in {*values.values(), None}

    def test_passes_over_rows_without_an_index(self):
        """A postcode whose index is null or no number is as if it were not there."""
        postcodes = index(
            {"AB101AB": None, "AB10": 2.5, "M11AA": math.nan, "M1": math.inf}
        )

        assert postcodes.find("AB10 1AB") == 2.5
        assert postcodes.find("M1 1AA") is None
        assert len(postcodes) == 1


class TestRealPostcodes:
    def test_agree_with_a_dict(self, data_folder):
        """Of every British postcode of the open table, however it is written."""
        file = data_folder / "postcode_imd.parquet"
        if not file.exists():
            pytest.skip(f"{file.name} is not in PROPENSITY_DATA")
        table = pq.read_table(file, columns=["postcode", "outward", "UK_IMD_E_score"])
        rows = table.to_pylist()
        values = {
            normalised(row["postcode"]): row["UK_IMD_E_score"]
            for row in rows
            if row["UK_IMD_E_score"] is not None
        }
        postcodes = index(values)

        assert len(postcodes) == len(values) > 10_000
        for row in rows:
            code = normalised(row["postcode"])
            assert outward(code) == row["outward"] or row["outward"] == "NPT"
            assert postcodes.find(row["postcode"].lower()) == values.get(code)
