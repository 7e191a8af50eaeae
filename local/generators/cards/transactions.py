"""Transactions, what is found out about them, and how both are sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from local.generators.delivery import (
    Delivery,
    Event,
    Fault,
    check_shares,
    cut_short,
    drawn_late,
    encode,
    in_order,
    repeated,
    sent_once,
    with_fields,
    without,
)
from local.generators.drawing import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Flags,
    Floats,
    Ints,
    exponential,
    floor,
    latency_ms,
    milliseconds,
    pick,
    random_of,
    shuffled,
    uuids,
)

USE_CASE = "card_fraud"
MINUTE_MS = 60 * SECOND_MS
N_COMPONENTS = 28
COMPONENTS = tuple(f"V{number}" for number in range(1, N_COMPONENTS + 1))
FEATURES = (*COMPONENTS, "Amount")
COLUMNS = ("Time", *FEATURES, "Class")


# What else a payload may look like: every number as text, and ways to write a moment.
AS_TEXTS = 0.05
INGEST_STYLES = np.array([0.80, 0.08, 0.06, 0.03, 0.03])


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """
    Card transactions in order of time, generated or real, with their outcomes.

    One row each: ``ids``, ``time_ms`` (UTC, since 1970), ``components`` (n, 28),
    ``amounts`` in money, ``is_fraud``. ``true_probabilities`` is P(fraud | all that the
    transaction says) where a generator knows it, else None. ``seed`` is that of all
    that is sent, ``notes`` what to say of where they come from.
    """

    ids: Sequence[str]
    time_ms: Ints
    components: Floats
    amounts: Floats
    is_fraud: Flags
    seed: int = 0
    true_probabilities: Floats | None = None
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def labels(self) -> dict[str, int]:
        """Return 1 for every fraud and 0 for the others, by transaction id."""
        return dict(zip(self.ids, self.is_fraud.astype(int).tolist(), strict=True))

    def optimum_roc_auc(self, rows: Flags | None = None) -> float | None:
        """
        Return the ROC AUC of the true probabilities: none is higher but by chance.

        Args:
            rows: Which transactions; None for all.

        Returns:
            None where nobody knows them, or where all are of one class.
        """
        from sklearn.metrics import roc_auc_score

        chosen = np.ones(len(self), bool) if rows is None else rows
        labels = self.is_fraud[chosen]
        if self.true_probabilities is None or not 0 < labels.sum() < len(labels):
            return None
        return float(roc_auc_score(labels, self.true_probabilities[chosen]))

    def table(self) -> pa.Table:
        """Return the public data set's columns, Time in seconds since the first."""
        seconds = (self.time_ms - self.time_ms[:1]) / SECOND_MS
        columns: dict[str, Any] = {"Time": seconds}
        columns |= dict(zip(COMPONENTS, self.components.T, strict=True))
        columns |= {"Amount": self.amounts, "Class": self.is_fraud.astype(np.int64)}
        return pa.table(columns)

    def first(self, count: int) -> Transactions:
        """Return the first transactions alone."""
        truth = self.true_probabilities
        return replace(
            self,
            ids=self.ids[:count],
            time_ms=self.time_ms[:count],
            components=self.components[:count],
            amounts=self.amounts[:count],
            is_fraud=self.is_fraud[:count],
            true_probabilities=None if truth is None else truth[:count],
        )

    def stretched(self, start: datetime, end: datetime) -> Transactions:
        """
        Return the same between two moments, by the same rate at every time.

        Raises:
            ValueError: The moments are not in order.
        """
        begins, ends = milliseconds(start), milliseconds(end)
        if begins >= ends:
            raise ValueError(f"{start} is not before {end}")
        since = self.time_ms - self.time_ms[:1]
        # The last is before the end.
        share = since / (since.max(initial=0) + 1)
        return replace(self, time_ms=begins + floor(share * (ends - begins)))

    def named(self, prefix: str) -> Transactions:
        """Return the same under other ids: the prefix and a number."""
        ids = [f"{prefix}{number:07d}" for number in range(1, len(self) + 1)]
        return replace(self, ids=ids)

    def events(self) -> Iterator[Event]:
        """
        Yield every transaction as its JSON object, in order of time.

        Numbers are numbers, times text in UTC to the millisecond, and ``ingest_ts`` is
        the time at which it is sent unless it is late.
        """
        random = random_of(self.seed, "cards' ingestion")
        ingested = self.time_ms + latency_ms(random, len(self))
        rows = np.column_stack([self.components, self.amounts]).tolist()
        for transaction_id, values, time, taken in zip(
            self.ids, rows, _texts(self.time_ms), _texts(ingested), strict=True
        ):
            yield {
                "transaction_id": transaction_id,
                **dict(zip(FEATURES, values, strict=True)),
                "event_time": time,
                "ingest_ts": taken,
            }

    def deliveries(
        self,
        *,
        duplicates: float = 0.05,
        late: float = 0.02,
        broken: float = 0.01,
        seed: int = 0,
    ) -> list[Delivery]:
        """
        Return the transactions as a producer sends them, in the order of sending.

        Payloads are bare: no event type, no use case, no user. Some have every number
        as text, some write ``ingest_ts`` in another way or leave it out.

        Args:
            duplicates: Repetitions, as a share of the transactions.
            late: Share that is sent up to a day late.
            broken: Messages that can never be accepted, as a share of the
                transactions. All ``FAULTS`` take turns; their ids are of no other.
            seed: With ``self.seed``, of everything that is drawn here.

        Raises:
            ValueError: A share is negative, or more than all are to be late.
        """
        check_shares(duplicates=duplicates, late=late, broken=broken)
        random = random_of(self.seed, f"cards' deliveries {seed}")
        n = len(self)
        events = list(self.events())
        sent_ms = np.array([_read_ms(event["ingest_ts"]) for event in events], np.int64)
        is_late = drawn_late(random, n, late)
        late_ms = floor((0.02 + 0.98 * random.random(n)) * DAY_MS)
        as_texts = (random.random(n) < AS_TEXTS).tolist()
        styles = pick(random, np.broadcast_to(INGEST_STYLES, (n, len(INGEST_STYLES))))
        payloads = map(_payload, events, as_texts, styles.tolist())
        return _sent(
            random,
            sent_once(
                events,
                ((payload, {}) for payload in payloads),
                sent_ms + np.where(is_late, late_ms, 0),
                is_late,
            ),
            events,
            duplicates=duplicates,
            broken=broken,
            faults=FAULTS,
            time_field="ingest_ts",
        )

    # What came of them ------------------------------------------------------------

    def truths(
        self,
        *,
        delay: timedelta = timedelta(hours=18),
        never: float = 0.05,
        wrong_first: float = 0.10,
        seed: int = 0,
    ) -> Truths:
        """
        Draw when the truth about each transaction is found out, if ever.

        Args:
            delay: Mean time from a transaction to its truth.
            never: Share of the transactions of which nobody ever learns.
            wrong_first: Share of the frauds that is taken for genuine first; as many
                genuine ones are taken for fraud. The correction is found out later.
            seed: With ``self.seed``, of everything that is drawn here.

        Raises:
            ValueError: A share is not from 0 to 1, or the delay is negative.
        """
        check_shares(never=never, wrong_first=wrong_first)
        if delay < timedelta(0):
            raise ValueError(f"a delay is not negative, and {delay} is")
        random = random_of(self.seed, f"truths {seed}")
        n, mean_ms = len(self), delay / timedelta(milliseconds=1)
        row = shuffled(random, n)[round(n * never) :]
        time = self.time_ms + SECOND_MS + exponential(random, n, mean_ms)
        frauds, others = row[self.is_fraud[row]], row[~self.is_fraud[row]]
        count = round(len(frauds) * wrong_first)
        wrong = np.sort(np.concatenate([frauds[:count], others[:count]]))
        row = np.sort(row)
        corrected = np.zeros(n, np.int64)
        corrected[wrong] = MINUTE_MS + exponential(random, len(wrong), mean_ms / 2)
        known_ms = time[row] + corrected[row]
        return Truths(
            ids=[self.ids[i] for i in (*row.tolist(), *wrong.tolist())],
            row=np.concatenate([row, wrong]),
            is_fraud=np.concatenate([self.is_fraud[row], ~self.is_fraud[wrong]]),
            time_ms=np.concatenate([known_ms, time[wrong]]),
            is_wrong=np.arange(len(row) + len(wrong)) >= len(row),
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class Truths:
    """
    What is found out about transactions: one row per finding, wrong ones among them.

    ``row`` is the transaction's; of a transaction the finding with the latest time is
    the truth. ``is_wrong`` tells those that a later one corrects.
    """

    ids: Sequence[str]
    row: Ints
    is_fraud: Flags
    time_ms: Ints
    is_wrong: Flags
    seed: int

    def __len__(self) -> int:
        return len(self.ids)

    def events(self) -> Iterator[Event]:
        """Yield every finding as its JSON object."""
        for transaction_id, is_fraud, time in zip(
            self.ids, self.is_fraud.tolist(), _texts(self.time_ms), strict=True
        ):
            yield {
                "transaction_id": transaction_id,
                "is_fraud": is_fraud,
                "truth_time": time,
            }

    def deliveries(
        self,
        *,
        duplicates: float = 0.05,
        late: float = 0.05,
        broken: float = 0.005,
        seed: int = 0,
    ) -> list[Delivery]:
        """
        Return the findings as a producer sends them, in the order of sending.

        As of ``Transactions.deliveries``, in shares of the findings. Some are sent up
        to a day late, so that a correction may come before what it corrects. A label is
        true or false, or 1 or 0.
        """
        check_shares(duplicates=duplicates, late=late, broken=broken)
        random = random_of(self.seed, f"truths' deliveries {seed}")
        n = len(self)
        events = list(self.events())
        sent_ms = self.time_ms + latency_ms(random, n)
        is_late = drawn_late(random, n, late)
        sent_ms += np.where(is_late, floor(random.random(n) * DAY_MS), 0)
        as_number = (random.random(n) < AS_TEXTS).tolist()
        payloads = (
            encode(event | {"is_fraud": int(event["is_fraud"])} if numeric else event)
            for event, numeric in zip(events, as_number, strict=True)
        )
        return _sent(
            random,
            sent_once(
                events, ((payload, {}) for payload in payloads), sent_ms, is_late
            ),
            events,
            duplicates=duplicates,
            broken=broken,
            faults=TRUTH_FAULTS,
            time_field="truth_time",
        )


FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", cut_short),
    "blank": Fault("malformed_json", lambda _: b" "),
    "no V14": Fault("missing_field", without("V14")),
    "no amount": Fault("missing_field", without("Amount")),
    "no time": Fault("missing_field", without("event_time")),
    "V3 in words": Fault("wrong_type", with_fields(V3="high")),
    "V7 as list": Fault("wrong_type", with_fields(V7=[1.0])),
    "V1 not a number": Fault("not_finite", with_fields(V1=float("nan"))),
    "amount infinite": Fault("not_finite", with_fields(Amount=float("inf"))),
    "far future": Fault("bad_time", with_fields(event_time="2999-12-31T23:59:59.000Z")),
    "nobody's": Fault("bad_value", with_fields(transaction_id="")),
}


TRUTH_FAULTS: Mapping[str, Fault] = {
    "no verdict": Fault("missing_field", without("is_fraud")),
    "no time": Fault("missing_field", without("truth_time")),
    "perhaps": Fault("bad_value", with_fields(is_fraud="perhaps")),
    "verdict 7": Fault("bad_value", with_fields(is_fraud=7)),
    "cut short": Fault("malformed_json", cut_short),
    "time in words": Fault("bad_time", with_fields(truth_time="yesterday")),
}


def _payload(event: Event, as_texts: bool, style: int) -> bytes:
    """Write a transaction in one of the ways that producers have."""
    written = dict(event)
    if as_texts:
        written |= {name: repr(event[name]) for name in FEATURES}
    since = _read_ms(event["ingest_ts"])
    if style == len(INGEST_STYLES) - 1:
        del written["ingest_ts"]
    else:
        forms = (event["ingest_ts"], since, since / SECOND_MS, str(since))
        written["ingest_ts"] = forms[style]
    return encode(written)


def _sent(
    random: np.random.Generator,
    deliveries: list[Delivery],
    events: Sequence[Event],
    *,
    duplicates: float,
    broken: float,
    faults: Mapping[str, Fault],
    time_field: str,
) -> list[Delivery]:
    """Add repetitions, and spoilt copies of events under ids of their own."""
    again = repeated(random, deliveries, duplicates, longest=(12, HOUR_MS))
    count = round(len(events) * broken)
    ids = uuids(random, count)
    places = floor(random.random(count) * len(events)).tolist()
    wait_ms = latency_ms(random, count).tolist()
    # Every fault in its turn.
    turns = itertools.islice(itertools.cycle(faults), count)
    spoilt = [
        faults[name].delivery(
            events[place] | {"transaction_id": spoilt_id},
            name=name,
            sent_ms=_read_ms(events[place][time_field]) + wait,
        )
        for name, spoilt_id, place, wait in zip(
            turns, ids, places, wait_ms, strict=True
        )
    ]
    return in_order([*deliveries, *again, *spoilt])


def _texts(time_ms: Ints) -> list[str]:
    """Write moments as ISO 8601 in UTC, to the millisecond."""
    texts = np.datetime_as_string(time_ms.astype("datetime64[ms]")).tolist()
    return [f"{text}Z" for text in texts]


def _read_ms(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))
