"""
Card transactions from a process that is known, and real ones in the same form.

The process
-----------
Transactions come over ``days`` days, more at the hours when people pay. Each has 28
components V1 to V28 and an amount; a share of exactly ``fraud_rate`` is fraud.

1. Genuine components are normal and correlated: half of their variance comes from four
   common factors. Six in a hundred are of an unusual kind, of twice the spread, so
   that not everything that is rare is fraud. Amounts are log-normal.
2. Frauds are of four kinds. Three shift some components by standard deviations, are
   spread wider than what is genuine, and have amounts of their own: cards are tested
   with tiny ones and emptied with large ones. The fourth looks as its victim's own.
3. All of it drifts: means wander, spreads grow and shrink, the factors turn, and the
   kind of fraud moves from card testing to identities that are made up, of which there
   are next to none at the beginning.

The truth
---------
Every density above is known, so the probability that a transaction is fraud, given its
components, its amount and its time, follows from Bayes' rule in closed form. It ranks
as well as anything can: ``Transactions.optimum_roc_auc`` says how well that is.

What is sent
------------
``Transactions.deliveries`` is what a producer sends: bare payloads, nearly in order,
some of them twice, some late, and some that can never be accepted. What came of each is
told later and apart: ``truths`` come after hours or days, in another order, some twice,
some wrong first and corrected later, and some never; ``truth_deliveries`` sends them.

Real transactions
-----------------
``read_cards`` reads the columns of the public data set (Time, V1 to V28, Amount, Class)
and returns the same kind of object, whose optimum nobody knows.

Everything follows from the seed: the same arguments give the same bytes, in the manner
of ``local/drawing.py``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from local.drawing import (
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
    normal,
    pick,
    random_of,
    shuffled,
    uuids,
)
from local.synthesize_games import Delivery

USE_CASE = "card_fraud"
MINUTE_MS = 60 * SECOND_MS
N_COMPONENTS = 28
COMPONENTS = tuple(f"V{number}" for number in range(1, N_COMPONENTS + 1))
FEATURES = (*COMPONENTS, "Amount")
COLUMNS = ("Time", *FEATURES, "Class")
DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)

# Of the process. What is drawn here is the same for every seed, as a country's cards
# are; the seed chooses transactions.
_WORLD = random_of(11, "the cards' world")
N_FACTORS = 4
COMMON = 0.5
SCALE = np.round(1.9 * 0.94 ** np.arange(N_COMPONENTS), 3)
# Of means in standard deviations: how far they wander, and from where on their way.
WANDER = np.round(0.1 + 0.3 * _WORLD.random(N_COMPONENTS), 3)
START = np.round(_WORLD.random(N_COMPONENTS), 3)
# From first to last: how the logarithm of a scale changes, how far the factors turn.
GROWTH = np.round(0.3 * (_WORLD.random(N_COMPONENTS) - 0.5), 3)
TURN = np.pi / 4
UNUSUAL = 0.06
UNUSUAL_SPREAD = 2.0
# The logarithm of a genuine amount: mean and standard deviation, usual and unusual.
AMOUNT = ((3.1, 1.3), (4.0, 1.6))
MAXIMUM_CENTS = 10_000_000
DECIMALS = 6

# How likely each hour of the day is.
HOURS = np.array(
    [
        *(1.6, 1.0, 0.7, 0.6, 0.6, 0.9, 1.4, 2.4, 3.6, 4.6, 5.2, 5.6),
        *(6.0, 5.8, 5.4, 5.4, 5.6, 6.0, 6.4, 6.2, 5.4, 4.4, 3.4, 2.4),
    ]
)

# What else a payload may look like: every number as text, and ways to write a moment.
AS_TEXTS = 0.05
INGEST_STYLES = np.array([0.80, 0.08, 0.06, 0.03, 0.03])

# A final run of so many frauds is no stream: at the rate of the public data set one of
# three would come once in two hundred million transactions.
SHORTEST_TAIL = 3

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class CardsError(Exception):
    """A file is not of card transactions in the public data set's columns."""


@dataclass(frozen=True)
class Kind:
    """
    One kind of fraud.

    ``shift`` is in standard deviations, by component. ``spread`` is relative to what is
    genuine, ``amount`` the mean and standard deviation of the amount's logarithm, and
    ``share`` of all frauds goes from the first of its numbers to the second.
    """

    name: str
    shift: Mapping[str, float]
    spread: float
    amount: tuple[float, float]
    share: tuple[float, float]

    @property
    def shifts(self) -> Floats:
        """Return the shift of every component."""
        return np.array([self.shift.get(name, 0.0) for name in COMPONENTS])


KINDS = (
    Kind(
        "card testing",
        {"V14": -3.0, "V12": -2.7, "V17": -2.4, "V10": -2.0, "V4": 1.9, "V11": 1.6},
        spread=1.2,
        amount=(0.3, 0.6),
        share=(0.55, 0.25),
    ),
    Kind(
        "account emptied",
        {"V3": -2.7, "V7": -2.3, "V10": -2.4, "V16": -2.0, "V2": 1.9, "V21": 1.6},
        spread=1.4,
        amount=(5.6, 0.9),
        share=(0.32, 0.27),
    ),
    Kind(
        "made-up identity",
        {"V1": 2.3, "V5": -2.3, "V8": 2.8, "V19": -2.0, "V23": 2.1, "V26": -1.8},
        spread=1.1,
        amount=(4.2, 1.0),
        share=(0.05, 0.40),
    ),
    # Nothing but a higher amount gives them away.
    Kind("as the owner pays", {}, spread=1.0, amount=(4.4, 1.2), share=(0.08, 0.08)),
)


def _unit_rows(rows: Floats) -> Floats:
    scaled: Floats = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return scaled


def _loadings() -> tuple[Floats, Floats]:
    """Return two matrices of components × factors whose rows are orthonormal pairs."""
    first = _unit_rows(_WORLD.random((N_COMPONENTS, N_FACTORS)) - 0.5)
    other = _WORLD.random((N_COMPONENTS, N_FACTORS)) - 0.5
    other -= (other * first).sum(axis=1, keepdims=True) * first
    return first, _unit_rows(other)


FIRST_LOADINGS, LAST_LOADINGS = _loadings()


# Transactions ------------------------------------------------------------------------


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
        is_late = np.zeros(n, bool)
        is_late[shuffled(random, n)[: round(n * late)]] = True
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
        made += _repeated(random, made, round(n * duplicates))
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
        is_late = np.zeros(n, bool)
        is_late[shuffled(random, n)[: round(n * late)]] = True
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
        made += _repeated(random, made, round(n * duplicates))
        count = round(n * broken)
        made += _spoilt(random, events, count, TRUTH_FAULTS, at="truth_time")
        return sorted(made, key=_sent)


# The process -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cards:
    """
    The process that card transactions are drawn from.

    Args:
        seed: Which transactions are drawn follows from it; the process does not.
        transactions: How many.
        fraud_rate: Share of them that is fraud; their number is exact.
        days: From the first possible transaction to ``end``.
        drift: 1 for the drift described above, 0 for none.
        end: Aware; no transaction is at this time or later.

    Raises:
        ValueError: An argument leaves nothing to generate.
    """

    seed: int = 42
    transactions: int = 8_000
    fraud_rate: float = 0.01
    days: int = 8
    drift: float = 1.0
    end: datetime = DEFAULT_END

    def __post_init__(self) -> None:
        wanted = {
            "a seed of 0 or more": self.seed >= 0,
            "at least 1 transaction": self.transactions >= 1,
            "a fraud rate from 0 to 1": 0 <= self.fraud_rate <= 1,
            "at least 1 day": self.days >= 1,
            "a drift from 0 to 1": 0 <= self.drift <= 1,
            "an end with a time zone": self.end.tzinfo is not None,
        }
        if missed := [want for want, is_met in wanted.items() if not is_met]:
            raise ValueError(f"wanted {', '.join(missed)}; got {self}")

    @cached_property
    def drawn(self) -> Transactions:
        """The transactions, with their true probabilities."""
        n = self.transactions
        is_fraud = np.zeros(n, bool)
        chosen = shuffled(random_of(self.seed, "frauds"), n)
        is_fraud[chosen[: round(n * self.fraud_rate)]] = True
        time_ms = self._times()
        since = self._progress(time_ms)
        group = self._groups(is_fraud, since)
        shift = np.stack([one.shift for one in _GROUPS])[group]
        spread = np.array([one.spread for one in _GROUPS])[group]
        random = random_of(self.seed, "components")
        common = np.sqrt(COMMON) * self.loadings(since)
        noise = np.zeros((n, N_COMPONENTS))
        # Factor by factor, so that no library chooses the order of a sum.
        for factor in range(N_FACTORS):
            noise += common[:, :, factor] * normal(random, n)[:, None]
        own = normal(random, n * N_COMPONENTS).reshape(n, N_COMPONENTS)
        noise += np.sqrt(1 - COMMON) * own
        components = self.means(since) + self.scales(since) * (
            shift + spread[:, None] * noise
        )
        mean, deviation = np.array([one.amount for one in _GROUPS])[group].T
        logarithm = mean + deviation * normal(random_of(self.seed, "amounts"), n)
        cents = np.clip(np.rint(100 * np.exp(logarithm)), 1, MAXIMUM_CENTS)
        made = Transactions(
            ids=uuids(random_of(self.seed, "transaction ids"), n),
            time_ms=time_ms,
            components=np.round(components, DECIMALS),
            amounts=np.round(cents / 100, 2),
            is_fraud=is_fraud,
            seed=self.seed,
        )
        return replace(made, true_probabilities=self.probabilities(made))

    def _times(self) -> Ints:
        """Draw moments, in order, by hour of the day."""
        random, n = random_of(self.seed, "moments"), self.transactions
        start_ms = milliseconds(self.end) - self.days * DAY_MS
        hours = np.arange(self.days * 24)
        weight = HOURS[(start_ms // HOUR_MS + hours) % 24]
        chosen = np.searchsorted(
            np.cumsum(weight) / weight.sum(), random.random(n), side="right"
        )
        within = floor(random.random(n) * HOUR_MS)
        return np.sort(start_ms + np.minimum(chosen, len(hours) - 1) * HOUR_MS + within)

    def _progress(self, time_ms: Ints) -> Floats:
        """Return where in its drift the process is, from 0 to 1, times ``drift``."""
        start_ms = milliseconds(self.end) - self.days * DAY_MS
        since: Floats = self.drift * (time_ms - start_ms) / (self.days * DAY_MS)
        return since

    def _groups(self, is_fraud: Flags, since: Floats) -> Ints:
        """Draw what each transaction is: usual, unusual, or a kind of fraud."""
        random = random_of(self.seed, "groups")
        genuine = pick(random, np.broadcast_to(_GENUINE, (len(since), len(_GENUINE))))
        return np.where(
            is_fraud, len(_GENUINE) + pick(random, self.kind_shares(since)), genuine
        )

    # Its moments at any time: n rows for n values of ``since`` ----------------------

    def means(self, since: Floats) -> Floats:
        """Return the mean of every component of what is genuine."""
        way = np.sin(2 * np.pi * (START + since[:, None]))
        origin = np.sin(2 * np.pi * START)
        moved: Floats = self.scales(np.zeros_like(since)) * WANDER * (way - origin)
        return moved

    def scales(self, since: Floats) -> Floats:
        """Return the standard deviation of every component of what is usual."""
        grown: Floats = SCALE * np.exp(GROWTH * since[:, None])
        return grown

    def loadings(self, since: Floats) -> Floats:
        """Return n × components × factors; each row is of length 1."""
        angle = TURN * since[:, None, None]
        turned: Floats = np.cos(angle) * FIRST_LOADINGS + np.sin(angle) * LAST_LOADINGS
        return turned

    def kind_shares(self, since: Floats) -> Floats:
        """Return the shares of the kinds of fraud, which sum to 1."""
        first, last = np.array([kind.share for kind in KINDS]).T
        shares: Floats = first + (last - first) * since[:, None]
        return shares

    def covariance(self, since: float) -> Floats:
        """Return the covariance matrix of what is usual."""
        at = np.array([since])
        common = self.loadings(at)[0]
        correlation = COMMON * common @ common.T + (1 - COMMON) * np.eye(N_COMPONENTS)
        scale = self.scales(at)[0]
        matrix: Floats = scale[:, None] * correlation * scale
        return matrix

    def probabilities(self, transactions: Transactions) -> Floats:
        """
        Compute P(fraud | components, amount, time) of transactions of this process.

        Bayes' rule on the process's own densities. What rounding does to components and
        to amounts is left out.
        """
        since = self._progress(transactions.time_ms)
        standard = (transactions.components - self.means(since)) / self.scales(since)
        loadings = self.loadings(since)
        # The correlation's inverse by Woodbury: only factors × factors are inverted.
        inner = COMMON * np.einsum("nif,nig->nfg", loadings, loadings)
        inner += (1 - COMMON) * np.eye(N_FACTORS)
        log_amount = np.log(np.maximum(transactions.amounts, 0.005))
        shares = np.column_stack(
            [np.broadcast_to(_GENUINE, (len(since), 2)), self.kind_shares(since)]
        )
        logs = np.empty((len(since), len(_GROUPS)))
        for number, group in enumerate(_GROUPS):
            away = standard - group.shift
            seen = np.einsum("nif,ni->nf", loadings, away)
            solved = np.linalg.solve(inner, seen[:, :, None])[:, :, 0]
            square = (away**2).sum(axis=1) - COMMON * (seen * solved).sum(axis=1)
            square /= (1 - COMMON) * group.spread**2
            mean, deviation = group.amount
            square += ((log_amount - mean) / deviation) ** 2
            volume = N_COMPONENTS * np.log(group.spread) + np.log(deviation)
            # A share of nothing is impossible, and leaves no doubt.
            with np.errstate(divide="ignore"):
                logs[:, number] = np.log(shares[:, number]) - volume - square / 2
        logs -= logs.max(axis=1, keepdims=True)
        density = np.exp(logs)
        fraud = self.fraud_rate * density[:, len(_GENUINE) :].sum(axis=1)
        genuine = (1 - self.fraud_rate) * density[:, : len(_GENUINE)].sum(axis=1)
        found: Floats = fraud / (fraud + genuine)
        return found


@dataclass(frozen=True)
class _Group:
    """Transactions of one distribution: usual, unusual, or a kind of fraud."""

    shift: Floats
    spread: float
    amount: tuple[float, float]


_GENUINE = np.array([1 - UNUSUAL, UNUSUAL])
_GROUPS = (
    _Group(np.zeros(N_COMPONENTS), 1.0, AMOUNT[0]),
    _Group(np.zeros(N_COMPONENTS), UNUSUAL_SPREAD, AMOUNT[1]),
    *(_Group(kind.shifts, kind.spread, kind.amount) for kind in KINDS),
)


# Real transactions -------------------------------------------------------------------


def read_cards(
    path: Path, *, end: datetime = DEFAULT_END, seed: int = 0
) -> Transactions:
    """
    Read real transactions in the public data set's columns.

    Only the beginning of the file that is a stream is used: Time does not go back, and
    the file does not end in frauds only. ``notes`` says what was left out.

    Args:
        path: Parquet or CSV with the columns Time (seconds), V1 to V28, Amount, Class
            (1 is fraud); further columns are ignored.
        end: The last transaction is just before.
        seed: Of all that is sent.

    Raises:
        CardsError: It cannot be read, has other columns, or holds no stream.
    """
    table = _columns(path)
    values = {name: table[name].to_numpy() for name in COLUMNS}
    is_fraud = values["Class"] == 1
    ordered = _ordered(values["Time"])
    tail = _tail(is_fraud)
    used = min(ordered, len(is_fraud) - tail)
    if not used:
        raise CardsError(f"{path} holds frauds only: that is no stream of transactions")
    notes = [f"{used:,} transactions of {path.name}, {is_fraud[:used].sum():,} frauds"]
    if used < len(is_fraud):
        why = (
            f"the last {tail:,} are frauds only"
            if used < ordered
            else "Time goes back after them"
        )
        left = len(is_fraud) - used
        notes.append(f"{left:,} more of the file are left out: {why}")
    time = values["Time"][:used]
    since = np.rint((time - time[-1]) * SECOND_MS).astype(np.int64)
    return Transactions(
        ids=[f"{path.stem}-{number:07d}" for number in range(1, used + 1)],
        time_ms=milliseconds(end) - 1 + since,
        components=np.column_stack([values[name][:used] for name in COMPONENTS]),
        amounts=values["Amount"][:used],
        is_fraud=is_fraud[:used],
        seed=seed,
        notes=tuple(notes),
    )


def _columns(path: Path) -> pa.Table:
    """Return the columns of a file as finite numbers."""
    try:
        table = csv.read_csv(path) if ".csv" in path.suffixes else pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CardsError(f"{path} cannot be read as Parquet or CSV: {error}") from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        found = ", ".join(table.column_names[:40]) or "none"
        raise CardsError(
            f"{path} lacks {', '.join(missing)}. Wanted are the columns Time, V1 to "
            f"V28, Amount and Class; found {found}"
        )
    if not table.num_rows:
        raise CardsError(f"{path} holds no transactions")
    try:
        table = pa.table({name: table[name].cast(pa.float64()) for name in COLUMNS})
    except pa.ArrowException as error:
        raise CardsError(f"{path} has columns that are no numbers: {error}") from error
    for name in COLUMNS:
        if not pc.all(pc.is_finite(table[name]), skip_nulls=False).as_py():
            raise CardsError(f"{path} has rows without a finite number in {name}")
    classes = pc.unique(table["Class"]).to_pylist()
    if not {0.0, 1.0}.issuperset(classes):
        raise CardsError(f"{path} has other values than 0 and 1 in Class")
    return table


def _ordered(time: Floats) -> int:
    """Return how many rows come before the first that goes back in time."""
    back = np.flatnonzero(np.diff(time) < 0)
    return int(back[0]) + 1 if len(back) else len(time)


def _tail(is_fraud: Flags) -> int:
    """Return the length of the final run of frauds, 0 for one that is too short."""
    genuine = np.flatnonzero(~is_fraud)
    tail = len(is_fraud) - (int(genuine[-1]) + 1 if len(genuine) else 0)
    return tail if tail >= SHORTEST_TAIL else 0


# Messages ----------------------------------------------------------------------------


Spoil = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True)
class Fault:
    """One way to spoil a payload, and the reason that its dead letter must have."""

    reason: str
    spoil: Spoil


def _encoded(event: Mapping[str, Any]) -> bytes:
    return _json(event).encode()


def _with(**fields: Any) -> Spoil:
    return lambda event: _encoded({**event, **fields})


def _without(name: str) -> Spoil:
    return lambda event: _encoded({k: v for k, v in event.items() if k != name})


FAULTS: Mapping[str, Fault] = {
    "cut short": Fault("malformed_json", lambda event: _encoded(event)[:-12]),
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
    "cut short": Fault("malformed_json", lambda event: _encoded(event)[:-12]),
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
    return _encoded(written)


def _repeated(
    random: np.random.Generator, made: Sequence[Delivery], count: int
) -> list[Delivery]:
    """Send some again, most within minutes."""
    again = floor(random.random(count) * len(made))
    wait_ms = 200 + exponential(random, count, 90 * SECOND_MS)
    hours_ms = floor(random.random(count) * 12 * HOUR_MS)
    wait_ms += np.where(random.random(count) < 0.1, hours_ms, 0)
    return [
        replace(
            made[which],
            sent_time=made[which].sent_time + timedelta(milliseconds=wait),
            is_duplicate=True,
        )
        for which, wait in zip(again.tolist(), wait_ms.tolist(), strict=True)
    ]


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


# The command line --------------------------------------------------------------------


def _write(path: Path, transactions: Transactions) -> None:
    if path.suffix == ".parquet":
        pq.write_table(transactions.table(), path)
    elif path.suffix == ".csv":
        csv.write_csv(transactions.table(), path)
    else:
        _write_lines(path, transactions.events())


def _write_lines(path: Path, events: Iterator[dict[str, Any]]) -> None:
    with path.open("wb") as file:
        for event in events:
            file.write(_encoded(event) + b"\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        "python -m local.synthesize_cards",
        description="Card transactions with known frauds.",
    )
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="OUT.ndjson for events, one JSON object a line; OUT.parquet or OUT.csv "
        "for the columns of the public data set",
    )
    parser.add_argument("--transactions", type=int, default=Cards.transactions)
    parser.add_argument("--fraud-rate", type=float, default=Cards.fraud_rate)
    parser.add_argument("--days", type=int, default=Cards.days)
    parser.add_argument("--drift", type=float, default=Cards.drift)
    parser.add_argument("--seed", type=int, default=Cards.seed)
    parser.add_argument(
        "--truths", type=Path, metavar="FILE.ndjson", help="what is found out, and when"
    )
    given = parser.parse_args(arguments)
    try:
        cards = Cards(
            seed=given.seed,
            transactions=given.transactions,
            fraud_rate=given.fraud_rate,
            days=given.days,
            drift=given.drift,
        )
    except ValueError as error:
        parser.error(str(error))
    _write(given.out, cards.drawn)
    if given.truths:
        _write_lines(given.truths, cards.drawn.truths().events())


if __name__ == "__main__":
    main()
