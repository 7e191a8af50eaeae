"""
The index of postcodes, which are compared in capitals and without spaces.

A postcode that the table lacks gets the median of its outward code, the first part of a
British postcode, if known.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

# An outward code, and the inward code behind it: a digit and two letters.
_BRITISH = re.compile(r"([A-Z]{1,2}[0-9][A-Z0-9]?)[0-9][A-Z]{2}")
_LEFT_OUT = re.compile(r"[^A-Z0-9]+")


def normalised(postcode: str) -> str:
    """Return a postcode in capitals, without spaces or punctuation."""
    return _LEFT_OUT.sub("", postcode.upper())


def outward(postcode: str) -> str | None:
    """Return the outward code of a normalised British postcode, None for others."""
    match = _BRITISH.fullmatch(postcode)
    return match[1] if match else None


class PostcodeIndex:
    """
    The postcodes of the table ``postcode_index``, and their index.

    Two sorted arrays: a million postcodes take some 20 MB, a tenth of a dict.
    """

    def __init__(self, table: pa.Table) -> None:
        """
        Args:
            table: With ``postcode``, normalised or an outward code, each once, and
                ``socioeconomic_idx``. Where that is null or not finite, the row is left
                out.
        """
        values = table["socioeconomic_idx"].to_numpy().astype(np.float64)
        codes = np.asarray(table["postcode"].to_numpy()).astype("S")
        finite = np.flatnonzero(np.isfinite(values))
        order = finite[np.argsort(codes[finite], kind="stable")]
        self._codes = codes[order]
        self._values = values[order]

    def __len__(self) -> int:
        return len(self._codes)

    def find(self, postcode: str) -> float | None:
        """Return the index of a postcode in any spelling, None if unknown."""
        code = normalised(postcode)
        for name in (code, outward(code)):
            # numpy would widen the whole array to compare it with a longer name.
            if name is not None and len(name) <= self._codes.itemsize:
                key = name.encode("ascii")
                position = int(np.searchsorted(self._codes, key))
                if position < len(self) and self._codes[position] == key:
                    return float(self._values[position])
        return None
