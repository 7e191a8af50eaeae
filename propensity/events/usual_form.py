"""
Bare events of numbers as most producers write them, whose numbers are kept as written.

Without spaces, the identity first, the times last, each in UTC to the millisecond: what
is between them are the numbers, and a slice of it is their JSON. To write them again
would take a quarter of all the time of such an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from propensity.events.record_batches import Column, offsets
from propensity.events.usual_times import MICROSECONDS, TO_ZEROS, are_within

_TIME = b"0000-00-00T00:00:00.000Z"
_QUOTE, _SPACE, _DELETE = b'" \x7f'


class Parts(NamedTuple):
    """
    What events consist of, in lists of equal length.

    Attributes:
        numbers: Behind the identity and its comma.
        instants: Of each field, the texts without the zone.
        times: The same in microseconds since 1970.
        between: What is written before, between and behind numbers and instants.
    """

    numbers: Sequence[bytes]
    instants: Sequence[Sequence[bytes]]
    times: Sequence[NDArray[np.int64]]
    between: Sequence[bytes]

    def are_within(self, latest: datetime) -> bool:
        """Say whether all instants make sense; a later one does not."""
        return all(are_within(one, latest) for one in self.times)

    def further(self) -> list[bytes]:
        """Return the numbers and instants of each event as JSON."""
        first, *others = self.between
        write = (first + b"%b" + b"%b".join(others)).__mod__
        return [*map(write, zip(self.numbers, *self.instants, strict=True))]

    def column(self) -> Column:
        """Return the numbers and instants as a column of JSON."""
        count, step = len(self.numbers), 2 * len(self.between) - 1
        # A text for each event would be made only to be copied.
        pieces = [b""] * (step * count)
        for place, text in enumerate(self.between):
            pieces[2 * place :: step] = [text] * count
        fixed = sum(map(len, self.between))
        for place, texts in enumerate((self.numbers, *self.instants)):
            pieces[2 * place + 1 :: step] = texts
            fixed += len(texts[0]) if place else 0
        widths = map(fixed.__add__, map(len, self.numbers))
        ends = accumulate(widths, initial=0)
        return 0, (b"", offsets(ends, count), b"".join(pieces))


def usual_parts(events: Sequence[Any], payloads: Sequence[bytes]) -> Parts | None:
    """Return the parts of valid events that all are in the usual form of one type."""
    kinds: set[Any] = {*map(type, events)}
    if len(kinds) != 1:
        return None
    [kind] = kinds
    form: UsualForm | None = kind.numeric and kind.numeric.usual_form
    if form is None or not kind.is_exact:
        return None
    ids = [*map(attrgetter(kind.declared.identity), events)]
    if {*map(type, ids)} != {str}:
        return None
    return form.parts(ids, payloads)


class UsualForm:
    """How most producers write the bare events of a type."""

    def __init__(
        self, identity: str, numerals: Sequence[str], instants: Sequence[str]
    ) -> None:
        """
        Args:
            identity: The field at the start.
            numerals: Fields in the middle, in any order.
            instants: Fields at the end, in this order, behind ``event_time``.
        """
        times = [b',"%b":"%b"' % (name.encode(), _TIME) for name in instants]
        self._start = b'{"%b":"' % identity.encode()
        self._end = b',"event_time":"%b"%b' % (_TIME, b"".join(times))
        # A slice that is made once takes half the time.
        self._start_in = itemgetter(slice(len(self._start)))
        self._end_in = itemgetter(slice(-len(self._end) - 1, -1))
        # Of names, and of the texts that are values.
        self._n_quotes = 2 * (len(numerals) + 2 * (2 + len(instants)))
        # Where in an end the instants are, without the zone, and the zone's quote.
        behind = [sum(map(len, times[place:])) for place in range(1, len(times) + 1)]
        self._instants = np.dtype(
            {
                "names": [*instants],
                "formats": [f"S{len(_TIME) - 1}"] * len(times),
                "offsets": [len(self._end) - 1 - len(_TIME) - size for size in behind],
                "itemsize": len(self._end),
            }
        )
        zone = b'000+00:00"'
        names = [b',"%b":"' % name.encode() for name in instants]
        names[1:] = [zone + name for name in names[1:]]
        self._between = [b"{", *names, (zone if names else b"") + b"}"]

    def parts(self, ids: Sequence[str], payloads: Sequence[bytes]) -> Parts | None:
        """
        Return the parts of events; None if one is written otherwise.

        Args:
            ids: The identities of valid events.
            payloads: What was sent of each.
        """
        count = len(payloads)
        # Without the brace: nothing else can be at the end of valid JSON.
        ends = b"".join(map(self._end_in, payloads))
        if not count or ends.translate(TO_ZEROS) != self._end * count:
            return None
        view = np.frombuffer(ends, self._instants)
        instants = [view[name] for name in view.dtype.names or ()]
        try:
            times = [one.astype(MICROSECONDS).view(np.int64) for one in instants]
        except ValueError:  # the 30th of February
            return None
        # Valid JSON of printable ASCII without spaces and escapes, with as many quotes
        # as the fields of the type have: it has each of them once, and no other.
        joined = b"".join(payloads)
        codes = np.frombuffer(joined, np.uint8)
        if (
            b"".join(map(self._start_in, payloads)) != self._start * count
            or np.maximum.reduce(codes) >= _DELETE
            or np.minimum.reduce(codes) <= _SPACE
            or np.count_nonzero(codes == _QUOTE) != self._n_quotes * count
            or b"\\" in joined
        ):
            return None
        texts = [one.tolist() for one in instants]
        return Parts(self._numbers(ids, payloads), texts, times, self._between)

    def _numbers(
        self, ids: Sequence[str], payloads: Sequence[bytes]
    ) -> Sequence[bytes]:
        """Return what is between identities, with quote and comma, and ends."""
        start, end = len(self._start) + 2, -len(self._end) - 1
        widths = [*map(len, ids)]
        if widths.count(widths[0]) == len(widths):
            return [*map(itemgetter(slice(start + widths[0], end)), payloads)]
        pairs = zip(payloads, widths, strict=True)
        return [data[start + width : end] for data, width in pairs]

    def further(
        self, ids: Sequence[str], payloads: Sequence[bytes], latest: datetime
    ) -> dict[int, bytes]:
        """
        Return the numbers and instants of events as JSON, by row; others are left out.

        Whether an event is left out depends on itself alone; see ``parts``. A later
        instant than ``latest`` makes no sense.
        """
        rows = [
            row
            for row, data in enumerate(payloads)
            if data.startswith(self._start)
            and self._end_in(data).translate(TO_ZEROS) == self._end
        ]
        return dict(self._halves(rows, ids, payloads, latest))

    def _halves(
        self,
        rows: Sequence[int],
        ids: Sequence[str],
        payloads: Sequence[bytes],
        latest: datetime,
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the texts of rows; what is written otherwise is found by halving."""
        parts = self.parts([ids[row] for row in rows], [payloads[row] for row in rows])
        if parts is not None and parts.are_within(latest):
            yield from zip(rows, parts.further(), strict=True)
        elif (half := len(rows) // 2) > 0:
            yield from self._halves(rows[:half], ids, payloads, latest)
            yield from self._halves(rows[half:], ids, payloads, latest)
