"""
Bodies in JSON that say each thing once.

JSON allows a name twice in an object, and a reader takes either of the two: a caller
would get an answer about what somebody else has meant. Every function that people call
refuses it. 02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import json

from propensity.errors import RequestError


def each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """
    Return an object of JSON: an ``object_pairs_hook``.

    Raises:
        RequestError: A name is in it twice; the error names it.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        # In one pass: a body of some megabytes has a million names.
        new = set(fields)
        for name, _ in pairs:
            if name not in new:
                raise RequestError(f"{name[:64]} must be given once", field=name[:64])
            new.remove(name)
    return fields


# What may stand before the colon of a name.
_ENDS = (b'":', b" :", b"\n:", b"\r:", b"\t:")

# Only names matter, so no number is computed, however many digits it has.
_reread = json.JSONDecoder(
    object_pairs_hook=each_once, parse_int=len, parse_float=len, strict=False
).decode


def check_each_once(body: bytes, names: int) -> None:
    """
    Check a body that another parser has read, which keeps one of two equal names.

    Each name of an object has its colon. So a body with as many colons as names that
    were kept has none twice, and most are like that. Where texts have colons, as times
    do, those behind a quotation mark or a blank are counted, as those of names are.
    What is left is read again.

    Args:
        body: Valid JSON.
        names: How many names the parser has kept, of some objects or of all of them.

    Raises:
        RequestError: A name is twice in an object; the error names it.
    """
    if body.count(b":") != names and sum(map(body.count, _ENDS)) != names:
        _reread(body.decode())
