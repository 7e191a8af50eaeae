"""
Bodies in JSON that say each thing once.

JSON allows a name twice in an object, and a reader takes either of the two: a caller
would get an answer about what somebody else has meant. Every function that people call
refuses it. 02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

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
