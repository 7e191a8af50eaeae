"""Postcodes in a file, and what a load makes of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

TODAY = date(2026, 11, 20)

CSV = """\
postcode,town,socioeconomic_idx
QA1 2BD,Ambermouth,3
qa1 2be,Ambermouth,5
 QA1  2BF,Ambermouth,9
QA1 2BD,Ambermouth,3.0
QD3 1AA,Dunmere,4
QD3 1AA,Dunmere,2
QD3 1AA,Dunmere,2
D02 X285,Elsewhere,6
QD4 1AA,Dunmere,
,Dunmere,4
"""
LOADED = {
    ("QA12BD", 3.0, False),
    ("QA12BE", 5.0, False),
    ("QA12BF", 9.0, False),
    ("QD31AA", 2.0, False),
    ("D02X285", 6.0, False),
    ("QA1", 5.0, True),
    ("QD3", 2.0, True),
}


def written(folder: Path, content: str | bytes, name: str = "postcodes.csv") -> str:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)
