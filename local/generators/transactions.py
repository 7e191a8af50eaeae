"""Card transactions, what is found out about them, and how both are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

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
    random_of,
    shuffled,
    texts_of,
)
from local.generators.faults import CARD_FAULTS, TRUTH_FAULTS
from local.generators.messages import Delivery, Event, drawn_late, sent

USE_CASE = "card_fraud"
COMPONENTS = tuple(f"V{number}" for number in range(1, 29))
FEATURES = (*COMPONENTS, "Amount")
COLUMNS = ("Time", *FEATURES, "Class")
# Mean time from a transaction to its truth; of how many nobody ever learns; of how many
# frauds, and as many others, the first verdict is wrong.
DELAY_MS, NEVER, WRONG_FIRST = 18 * HOUR_MS, 0.05, 0.10


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """
    Card transactions in order of time, generated or real, with their outcomes.

    One row each: ``ids``, ``time_ms`` (UTC, since 1970), ``components`` (n, 28),
    ``amounts``, ``is_fraud``. ``true_probabilities`` is None for real ones. ``seed`` is
    of all that is sent; ``notes`` say where real ones come from.
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

    def optimum_roc_auc(self, rows: Flags) -> float | None:
        """
        Return the ROC AUC of the true probabilities of some rows.

        None where nobody knows them, or where all rows are of one class.
        """
        from sklearn.metrics import roc_auc_score

        labels = self.is_fraud[rows]
        if self.true_probabilities is None or not 0 < labels.sum() < len(labels):
            return None
        return float(roc_auc_score(labels, self.true_probabilities[rows]))

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
        """Return the same between two times."""
        begins, ends = milliseconds(start), milliseconds(end)
        since = self.time_ms - self.time_ms[:1]
        # The last is before the end.
        share = since / (since.max(initial=0) + 1)
        return replace(self, time_ms=begins + floor(share * (ends - begins)))

    def named(self, prefix: str) -> Transactions:
        """Return the same under other ids: the prefix and a number."""
        ids = [f"{prefix}{number:07d}" for number in range(1, len(self) + 1)]
        return replace(self, ids=ids)

    def events(self) -> list[Event]:
        """Return every transaction as its JSON object, in order of time."""
        random = random_of(self.seed, "cards' ingestion")
        ingested = texts_of(self.time_ms + latency_ms(random, len(self)))
        rows = np.column_stack([self.components, self.amounts]).tolist()
        return [
            {
                "transaction_id": transaction_id,
                **dict(zip(FEATURES, values, strict=True)),
                "event_time": time,
                "ingest_ts": taken,
            }
            for transaction_id, values, time, taken in zip(
                self.ids, rows, texts_of(self.time_ms), ingested, strict=True
            )
        ]

    def deliveries(
        self, *, duplicates: float = 0.05, late: float = 0.02, broken: float = 0.01
    ) -> list[Delivery]:
        """
        Return the transactions as a producer sends them, in the order of sending.

        Payloads have no event type, use case or user.

        Args:
            duplicates: Repetitions, as a share of the transactions.
            late: Share that is sent up to a day late.
            broken: Broken messages, as a share; ``CARD_FAULTS`` take turns.
        """
        random, n = random_of(self.seed, "cards' deliveries 0"), len(self)
        events = self.events()
        times = (datetime.fromisoformat(event["ingest_ts"]) for event in events)
        sent_ms = np.array([milliseconds(time) for time in times])
        is_late = drawn_late(random, n, late)
        late_ms = floor((0.02 + 0.98 * random.random(n)) * DAY_MS)
        return sent(
            random,
            events,
            sent_ms=sent_ms + np.where(is_late, late_ms, 0),
            is_late=is_late,
            duplicates=duplicates,
            longest=(12, HOUR_MS),
            broken=broken,
            faults=CARD_FAULTS,
            id_field="transaction_id",
            time_field="ingest_ts",
        )

    def truths(self) -> Truths:
        """Draw when the truth about each transaction is found out, if ever."""
        random, n = random_of(self.seed, "truths 0"), len(self)
        row = shuffled(random, n)[round(n * NEVER) :]
        time = self.time_ms + SECOND_MS + exponential(random, n, DELAY_MS)
        frauds, others = row[self.is_fraud[row]], row[~self.is_fraud[row]]
        count = round(len(frauds) * WRONG_FIRST)
        wrong = np.sort(np.concatenate([frauds[:count], others[:count]]))
        row = np.sort(row)
        corrected = np.zeros(n, np.int64)
        later = exponential(random, len(wrong), DELAY_MS / 2)
        corrected[wrong] = 60 * SECOND_MS + later
        return Truths(
            ids=[self.ids[i] for i in (*row.tolist(), *wrong.tolist())],
            row=np.concatenate([row, wrong]),
            is_fraud=np.concatenate([self.is_fraud[row], ~self.is_fraud[wrong]]),
            time_ms=np.concatenate([time[row] + corrected[row], time[wrong]]),
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class Truths:
    """
    What is found out about transactions: one row for each finding.

    ``row`` is the transaction's; its latest finding is the truth.
    """

    ids: Sequence[str]
    row: Ints
    is_fraud: Flags
    time_ms: Ints
    seed: int

    def events(self) -> Iterator[Event]:
        """Yield every finding as its JSON object."""
        for transaction_id, is_fraud, time in zip(
            self.ids, self.is_fraud.tolist(), texts_of(self.time_ms), strict=True
        ):
            yield {
                "transaction_id": transaction_id,
                "is_fraud": is_fraud,
                "truth_time": time,
            }

    def deliveries(
        self, *, duplicates: float = 0.05, late: float = 0.05, broken: float = 0.005
    ) -> list[Delivery]:
        """
        Return the findings as a producer sends them, in the order of sending.

        Some are up to a day late: a correction may come before what it corrects.
        """
        random, n = random_of(self.seed, "truths' deliveries 0"), len(self.ids)
        events = list(self.events())
        sent_ms = self.time_ms + latency_ms(random, n)
        is_late = drawn_late(random, n, late)
        sent_ms += np.where(is_late, floor(random.random(n) * DAY_MS), 0)
        return sent(
            random,
            events,
            sent_ms=sent_ms,
            is_late=is_late,
            duplicates=duplicates,
            longest=(12, HOUR_MS),
            broken=broken,
            faults=TRUTH_FAULTS,
            id_field="transaction_id",
            time_field="truth_time",
        )
