"""Transactions, what is found out about them, and how both are sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from local.generators.delivery import Delivery, drawn_late, repeated
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
    moment,
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


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """
    Card transactions in order of time, generated or real, and what came of each.

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

    def events(self) -> Iterator[dict[str, Any]]:
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
        _check_shares(duplicates=duplicates, late=late, broken=broken)
        random = random_of(self.seed, f"cards' deliveries {seed}")
        n = len(self)
        events = list(self.events())
        sent = np.array([_read_ms(one["ingest_ts"]) for one in events], np.int64)
        is_late = drawn_late(random, n, late)
        sent += np.where(is_late, floor((0.02 + 0.98 * random.random(n)) * DAY_MS), 0)
        texts = (random.random(n) < AS_TEXTS).tolist()
        styles = pick(random, np.broadcast_to(INGEST_STYLES, (n, len(INGEST_STYLES))))
        made = [
            Delivery(
                data=_payload(event, as_texts=as_texts, style=style),
                attributes={},
                sent_time=moment(at),
                event=event,
                is_late=was_late,
            )
            for event, as_texts, style, at, was_late in zip(
                *(events, texts, styles.tolist(), sent.tolist(), is_late.tolist()),
                strict=True,
            )
        ]
        made += repeated(random, made, round(n * duplicates), longest=(12, HOUR_MS))
        made += _spoilt(random, events, round(n * broken), FAULTS, at="ingest_ts")
        return sorted(made, key=_sent)

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
        _check_shares(never=never, wrong_first=wrong_first)
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
        found = time[row] + corrected[row]
        return Truths(
            ids=[self.ids[i] for i in (*row.tolist(), *wrong.tolist())],
            row=np.concatenate([row, wrong]),
            is_fraud=np.concatenate([self.is_fraud[row], ~self.is_fraud[wrong]]),
            time_ms=np.concatenate([found, time[wrong]]),
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

    def events(self) -> Iterator[dict[str, Any]]:
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

        Some are sent up to a day late, so that a correction may come before what it
        corrects. A label is true or false, or 1 or 0.

        Args:
            duplicates: Repetitions, as a share of the findings.
            late: Share that is sent up to a day late.
            broken: Messages that can never be accepted, as a share of the findings.
            seed: With ``self.seed``, of everything that is drawn here.

        Raises:
            ValueError: A share is negative, or more than all are to be late.
        """
        _check_shares(duplicates=duplicates, late=late, broken=broken)
        random = random_of(self.seed, f"truths' deliveries {seed}")
        n = len(self)
        events = list(self.events())
        sent = self.time_ms + latency_ms(random, n)
        is_late = drawn_late(random, n, late)
        sent += np.where(is_late, floor(random.random(n) * DAY_MS), 0)
        as_number = (random.random(n) < AS_TEXTS).tolist()
        made = [
            Delivery(
                data=_json(
                    event | {"is_fraud": int(event["is_fraud"])} if numeric else event
                ).encode(),
                attributes={},
                sent_time=moment(at),
                event=event,
                is_late=was_late,
            )
            for event, numeric, at, was_late in zip(
                events, as_number, sent.tolist(), is_late.tolist(), strict=True
            )
        ]
        made += repeated(random, made, round(n * duplicates), longest=(12, HOUR_MS))
        count = round(n * broken)
        made += _spoilt(random, events, count, TRUTH_FAULTS, at="truth_time")
        return sorted(made, key=_sent)


Spoil = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True)
class Fault:
    """One way to spoil a payload, and the reason that its dead letter must have."""

    reason: str
    spoil: Spoil


def encoded(event: Mapping[str, Any]) -> bytes:
    return _json(event).encode()


def _with(**fields: Any) -> Spoil:
    return lambda event: encoded({**event, **fields})


def _without(name: str) -> Spoil:
    return lambda event: encoded({k: v for k, v in event.items() if k != name})


FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", lambda event: encoded(event)[:-12]),
    "blank": Fault("malformed_json", lambda _: b" "),
    "no V14": Fault("missing_field", _without("V14")),
    "no amount": Fault("missing_field", _without("Amount")),
    "no time": Fault("missing_field", _without("event_time")),
    "V3 in words": Fault("wrong_type", _with(V3="high")),
    "V7 as list": Fault("wrong_type", _with(V7=[1.0])),
    "V1 not a number": Fault("not_finite", _with(V1=float("nan"))),
    "amount infinite": Fault("not_finite", _with(Amount=float("inf"))),
    "far future": Fault("bad_time", _with(event_time="2999-12-31T23:59:59.000Z")),
    "nobody's": Fault("bad_value", _with(transaction_id="")),
}


TRUTH_FAULTS: Mapping[str, Fault] = {
    "no verdict": Fault("missing_field", _without("is_fraud")),
    "no time": Fault("missing_field", _without("truth_time")),
    "perhaps": Fault("bad_value", _with(is_fraud="perhaps")),
    "verdict 7": Fault("bad_value", _with(is_fraud=7)),
    "cut short": Fault("malformed_json", lambda event: encoded(event)[:-12]),
    "time in words": Fault("bad_time", _with(truth_time="yesterday")),
}


def _payload(event: Mapping[str, Any], *, as_texts: bool, style: int) -> bytes:
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
    return encoded(written)


def _spoilt(
    random: np.random.Generator,
    events: Sequence[dict[str, Any]],
    count: int,
    faults: Mapping[str, Fault],
    *,
    at: str,
) -> list[Delivery]:
    """Spoil copies of events, under ids of their own, every fault in its turn."""
    names = list(faults)
    ids = uuids(random, count)
    where = floor(random.random(count) * len(events)).tolist()
    wait_ms = latency_ms(random, count).tolist()
    made = []
    for turn, (spoilt_id, place, wait) in enumerate(
        zip(ids, where, wait_ms, strict=True)
    ):
        name = names[turn % len(names)]
        event = events[place] | {"transaction_id": spoilt_id}
        made.append(
            Delivery(
                data=faults[name].spoil(event),
                attributes={},
                sent_time=moment(_read_ms(event[at]) + wait),
                event=None,
                reason=faults[name].reason,
                fault=name,
            )
        )
    return made


def _check_shares(**shares: float) -> None:
    limited = {"late", "never", "wrong_first"}
    for name, share in shares.items():
        if share < 0 or (name in limited and share > 1):
            raise ValueError(f"{name} is a share, not {share}")


def _sent(delivery: Delivery) -> datetime:
    return delivery.sent_time


def _texts(time_ms: Ints) -> list[str]:
    """Write moments as ISO 8601 in UTC, to the millisecond."""
    written = np.datetime_as_string(time_ms.astype("datetime64[ms]")).tolist()
    return [f"{text}Z" for text in written]


def _read_ms(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))
