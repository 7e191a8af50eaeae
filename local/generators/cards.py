"""
Card transactions, from a process that is known or from a file; their outcomes, and
sent of them.

Half of the variance of the 28 components comes from four common factors; amounts are
log-normal. Six in a hundred genuine transactions are of an unusual kind, of twice the
spread. Frauds are of four kinds: three shift some components and have amounts of their
own, the fourth looks like its victim's. All of it drifts: means wander, spreads change,
factors turn, and frauds move from card testing to made-up identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from local.generators.streams import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Delivery,
    Event,
    Ints,
    exponential,
    floor,
    latency_ms,
    milliseconds,
    moments,
    normal,
    pick,
    random_of,
    sent,
    shuffled,
    texts_of,
)
from propensity.errors import SchemaError
from propensity.models.encoding import Flags, Floats
from propensity.table_files import files as table_files

USE_CASE = "card_fraud"
COMPONENTS = tuple(f"V{number}" for number in range(1, 29))
COLUMNS = ("Time",) + COMPONENTS + ("Amount", "Class")
# Mean time from a transaction to its truth; how many are never learned; of how many
# frauds, and as many others, the first verdict is wrong.
DELAY_MS = 18 * HOUR_MS
NEVER = 0.05
WRONG_FIRST = 0.10
# Most transactions of a file that are played.
MAXIMUM_TRANSACTIONS = 12_000
DEFAULT_SEED = 42
DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)
N_COMPONENTS = len(COMPONENTS)

# The world is the same for every seed, which only draws transactions.
_WORLD = random_of(11, "the cards' world")
N_FACTORS = 4
COMMON = 0.5
SCALE = np.round(1.9 * 0.94 ** np.arange(N_COMPONENTS), 3)
# How far means wander, in standard deviations, and where they begin.
WANDER = np.round(0.1 + 0.3 * _WORLD.random(N_COMPONENTS), 3)
START = np.round(_WORLD.random(N_COMPONENTS), 3)
# Change from the first to the last day: of a scale's logarithm, and of the factors.
GROWTH = np.round(0.3 * (_WORLD.random(N_COMPONENTS) - 0.5), 3)
TURN = np.pi / 4
HOURS = np.array([
    1.6, 1.0, 0.7, 0.6, 0.6, 0.9, 1.4, 2.4, 3.6, 4.6, 5.2, 5.6,
    6.0, 5.8, 5.4, 5.4, 5.6, 6.0, 6.4, 6.2, 5.4, 4.4, 3.4, 2.4,
])  # fmt: skip
# Of each kind: shifts of components in standard deviations; the spread relative to what
# is usual; mean and standard deviation of the amount's logarithm; the share of all
# genuine transactions, or of all frauds, at first and at last.
KINDS: tuple[tuple[dict[str, float], float, float, float, float, float], ...]
KINDS = (
    # Genuine: usual and unusual.
    ({}, 1.0, 3.1, 1.3, 0.94, 0.94),
    ({}, 2.0, 4.0, 1.6, 0.06, 0.06),
    # Card testing, with tiny amounts.
    ({"V14": -3.0, "V12": -2.7, "V17": -2.4, "V10": -2.0, "V4": 1.9, "V11": 1.6},
     1.2, 0.3, 0.6, 0.55, 0.25),
    # An account is emptied.
    ({"V3": -2.7, "V7": -2.3, "V10": -2.4, "V16": -2.0, "V2": 1.9, "V21": 1.6},
     1.4, 5.6, 0.9, 0.32, 0.27),
    # A made-up identity.
    ({"V1": 2.3, "V5": -2.3, "V8": 2.8, "V19": -2.0, "V23": 2.1, "V26": -1.8},
     1.1, 4.2, 1.0, 0.05, 0.40),
    # The fraudster pays like the owner, but more.
    ({}, 1.0, 4.4, 1.2, 0.08, 0.08),
)  # fmt: skip
GENUINE = 2
SHIFT = np.array([[shift.get(name, 0.0) for name in COMPONENTS] for shift, *_ in KINDS])
SPREAD, AMOUNT_MEAN, AMOUNT_SPREAD, FIRST_SHARE, LAST_SHARE = np.array(
    [kind[1:] for kind in KINDS]
).T


# Two matrices of components × factors whose rows are orthonormal pairs.
FIRST_LOADINGS = _WORLD.random((N_COMPONENTS, N_FACTORS)) - 0.5
FIRST_LOADINGS /= np.linalg.norm(FIRST_LOADINGS, axis=1, keepdims=True)
LAST_LOADINGS = _WORLD.random((N_COMPONENTS, N_FACTORS)) - 0.5
_ALONG = (LAST_LOADINGS * FIRST_LOADINGS).sum(axis=1, keepdims=True)
LAST_LOADINGS -= _ALONG * FIRST_LOADINGS
LAST_LOADINGS /= np.linalg.norm(LAST_LOADINGS, axis=1, keepdims=True)


def cards(
    *,
    seed: int = DEFAULT_SEED,
    transactions: int = 8_000,
    fraud_rate: float = 0.01,
    days: int = 8,
    end: datetime = DEFAULT_END,
) -> Transactions:
    """
    Draw card transactions.

    Args:
        seed: Which transactions are drawn; the process is the same for all.
        transactions: How many.
        fraud_rate: Share of them that is fraud; their number is exact.
        days: From the first possible transaction to ``end``.
        end: Aware; no transaction is at this time or later.
    """
    n = transactions
    start_ms = milliseconds(end) - days * DAY_MS
    is_fraud = np.zeros(n, bool)
    is_fraud[shuffled(random_of(seed, "frauds"), n)[: round(n * fraud_rate)]] = True
    weight = HOURS[(start_ms // HOUR_MS + np.arange(days * 24)) % 24]
    time_ms = moments(random_of(seed, "moments"), n, start_ms=start_ms, weight=weight)
    # This says where in its drift the process is, from 0 to 1.
    since = ((time_ms - start_ms) / (days * DAY_MS))[:, None]
    share = FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * since
    way = np.sin(2 * np.pi * (START + since)) - np.sin(2 * np.pi * START)
    mean = SCALE * WANDER * way
    scale = SCALE * np.exp(GROWTH * since)
    angle = TURN * since[:, :, None]
    loadings = np.cos(angle) * FIRST_LOADINGS + np.sin(angle) * LAST_LOADINGS

    random = random_of(seed, "groups")
    genuine = pick(random, share[:, :GENUINE])
    kind = np.where(is_fraud, GENUINE + pick(random, share[:, GENUINE:]), genuine)
    random = random_of(seed, "components")
    common = np.sqrt(COMMON) * loadings
    noise = np.zeros((n, N_COMPONENTS))
    for factor in range(N_FACTORS):
        noise += common[:, :, factor] * normal(random, n)[:, None]
    residual = normal(random, n * N_COMPONENTS).reshape(n, N_COMPONENTS)
    noise += np.sqrt(1 - COMMON) * residual
    standard = SHIFT[kind] + SPREAD[kind][:, None] * noise
    components = np.round(mean + scale * standard, 6)
    drawn = normal(random_of(seed, "amounts"), n)
    amounts = np.exp(AMOUNT_MEAN[kind] + AMOUNT_SPREAD[kind] * drawn)
    amounts = np.maximum(np.rint(100 * amounts), 1) / 100
    return Transactions(
        time_ms=time_ms,
        components=components,
        amounts=np.round(amounts, 2),
        is_fraud=is_fraud,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """
    Card transactions in order of time, generated or real, with their outcomes.

    One row each: ``time_ms`` (UTC, since 1970), ``components`` (n, 28), ``amounts``,
    ``is_fraud``. ``seed`` is of all that is sent, ``prefix`` begins every id.
    """

    time_ms: Ints
    components: Floats
    amounts: Floats
    is_fraud: Flags
    seed: int = 0
    prefix: str = ""

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def ids(self) -> list[str]:
        """Ids of the transactions: the prefix and a number."""
        return [f"{self.prefix}{number:07d}" for number in range(1, len(self) + 1)]

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
        Return the outcomes of the transactions, each a JSON object.

        A transaction's latest finding is the truth.
        """
        random = random_of(self.seed, "truths 0")
        n = len(self)
        row = shuffled(random, n)[round(n * NEVER) :]
        time = self.time_ms + SECOND_MS + exponential(random, n, DELAY_MS)
        frauds = row[self.is_fraud[row]]
        others = row[~self.is_fraud[row]]
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
        Return transactions and findings as a producer sends them, in that order.

        Payloads have no event type, use case or user. A correction may come before
        what it corrects.
        """
        transactions = sent(
            self.events(),
            random_of(self.seed, "cards' deliveries 0"),
            time_field="ingest_ts",
            is_delayed=False,
            late=0.02,
            late_days=(0.02, 1),
        )
        truths = sent(
            self.truths(),
            random_of(self.seed, "truths' deliveries 0"),
            time_field="truth_time",
        )
        return sorted(chain(transactions, truths), key=attrgetter("sent_time"))


def read_cards(path: Path, *, start: datetime, end: datetime) -> Transactions:
    """Read the first real transactions of a file, stretched between two times."""
    rows = checked(path)[:MAXIMUM_TRANSACTIONS]
    since = np.rint((rows["Time"] - rows["Time"][0]).to_numpy() * SECOND_MS)
    begins = milliseconds(start)
    ends = milliseconds(end)
    return Transactions(
        # The last is before the end.
        time_ms=begins + floor(since / (since[-1] + 1) * (ends - begins)),
        components=rows[list(COMPONENTS)].to_numpy(),
        amounts=rows["Amount"].to_numpy(),
        is_fraud=rows["Class"].to_numpy() == 1,
    )


def checked(path: Path) -> pd.DataFrame:
    """
    Return the columns of a file as finite numbers.

    Frauds that end a file are no stream, they were put there: they are left out.

    Args:
        path: Parquet or CSV with the columns Time (seconds, in order), V1 to V28,
            Amount, Class (1 is fraud); further columns are ignored.
    """
    table = table_files.read_file(path, COLUMNS)
    with table_files.named(path):
        columns = {
            name: table_files.typed(table, name, "FLOAT64") for name in COLUMNS[:-1]
        }
        columns["Class"] = table_files.typed(table, "Class", "BOOL").cast(pa.float64())
    rows = pa.table(columns).to_pandas()
    for name in COLUMNS:
        is_wrong = ~np.isfinite(rows[name])
        if is_wrong.any():
            row = int(is_wrong.argmax()) + 1
            raise SchemaError(f"{path}, row {row}: {name} is not a finite number")
    genuine = np.flatnonzero(rows["Class"] == 0)
    if not len(genuine):
        raise SchemaError(
            f"{path} has no genuine transactions (Class 0); a demo needs some"
        )
    rows = rows[: genuine[-1] + 1]
    back = np.flatnonzero(rows["Time"].diff() < 0)
    if len(back):
        raise SchemaError(
            f"{path}, row {back[0] + 1}: Time is earlier than in the row before; sort "
            "the rows by Time"
        )
    return rows
