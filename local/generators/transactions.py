"""Card transactions, what is found out about them, and how both are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from local.generators.drawing import (
    HOUR_MS,
    SECOND_MS,
    Flags,
    Floats,
    Ints,
    exponential,
    latency_ms,
    random_of,
    shuffled,
    texts_of,
)
from local.generators.messages import (
    Delivery,
    Event,
    Faults,
    cut_short,
    given,
    sent,
    without,
)

USE_CASE = "card_fraud"
COMPONENTS = tuple(f"V{number}" for number in range(1, 29))
COLUMNS = ("Time", *COMPONENTS, "Amount", "Class")
# Mean time from a transaction to its truth; of how many nobody ever learns; of how many
# frauds, and as many others, the first verdict is wrong.
DELAY_MS, NEVER, WRONG_FIRST = 18 * HOUR_MS, 0.05, 0.10
FAULTS: Faults = {
    "malformed_json": cut_short,
    "missing_field": without("V14"),
    "wrong_type": given(V3="high"),
    "not_finite": given(V1=float("nan")),
    "bad_time": given(event_time="2999-12-31T23:59:59.000Z"),
    "bad_value": given(transaction_id=""),
}
TRUTH_FAULTS: Faults = {
    "malformed_json": cut_short,
    "missing_field": without("is_fraud"),
    "bad_time": given(truth_time="yesterday"),
    "bad_value": given(is_fraud="perhaps"),
}


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """
    Card transactions in order of time, generated or real, with their outcomes.

    One row each: ``ids``, ``time_ms`` (UTC, since 1970), ``components`` (n, 28),
    ``amounts``, ``is_fraud``. ``true_probabilities`` is None for real ones. ``seed`` is
    of all that is sent.
    """

    ids: Sequence[str]
    time_ms: Ints
    components: Floats
    amounts: Floats
    is_fraud: Flags
    seed: int = 0
    true_probabilities: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def named(self, prefix: str) -> Transactions:
        """Return the same under other ids: the prefix and a number."""
        ids = [f"{prefix}{number:07d}" for number in range(1, len(self) + 1)]
        return replace(self, ids=ids)

    def events(self) -> list[Event]:
        """Return every transaction as its JSON object, in order of time."""
        wait_ms = latency_ms(random_of(self.seed, "cards' ingestion"), len(self))
        columns = {
            "transaction_id": self.ids,
            **dict(zip(COMPONENTS, self.components.T, strict=True)),
            "Amount": self.amounts,
            "event_time": texts_of(self.time_ms),
            "ingest_ts": texts_of(self.time_ms + wait_ms),
        }
        rows: list[Event] = pd.DataFrame(columns).to_dict("records")
        return rows

    def truths(self) -> list[Event]:
        """
        Return what is found out about the transactions, each finding a JSON object.

        A transaction's latest finding is the truth.
        """
        random, n = random_of(self.seed, "truths 0"), len(self)
        row = shuffled(random, n)[round(n * NEVER) :]
        time = self.time_ms + SECOND_MS + exponential(random, n, DELAY_MS)
        frauds, others = row[self.is_fraud[row]], row[~self.is_fraud[row]]
        count = round(len(frauds) * WRONG_FIRST)
        wrong = np.sort(np.r_[frauds[:count], others[:count]])
        row = np.sort(row)
        corrected = np.zeros(n, np.int64)
        later = exponential(random, len(wrong), DELAY_MS / 2)
        corrected[wrong] = 60 * SECOND_MS + later
        columns = {
            "transaction_id": np.array(self.ids)[np.r_[row, wrong]],
            "is_fraud": np.r_[self.is_fraud[row], ~self.is_fraud[wrong]],
            "truth_time": texts_of(np.r_[time[row] + corrected[row], time[wrong]]),
        }
        findings: list[Event] = pd.DataFrame(columns).to_dict("records")
        return findings

    def deliveries(self) -> list[Delivery]:
        """
        Return the transactions as a producer sends them, in the order of sending.

        Payloads have no event type, use case or user.
        """
        return sent(
            self.events(),
            random_of(self.seed, "cards' deliveries 0"),
            FAULTS,
            id_field="transaction_id",
            time_field="ingest_ts",
            is_delayed=False,
            late=0.02,
            late_days=(0.02, 1),
        )

    def truth_deliveries(self) -> list[Delivery]:
        """
        Return the findings as a producer sends them, some up to a day late.

        A correction may come before what it corrects.
        """
        return sent(
            self.truths(),
            random_of(self.seed, "truths' deliveries 0"),
            TRUTH_FAULTS,
            id_field="transaction_id",
            time_field="truth_time",
            broken=0.005,
        )
