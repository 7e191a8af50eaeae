"""
Card transactions from a process that is known.

Half of the variance of the 28 components comes from four common factors; amounts are
log-normal. Six in a hundred genuine transactions are of an unusual kind, of twice the
spread. Frauds are of four kinds: three shift some components and have amounts of their
own, the fourth looks like its victim's. All of it drifts: means wander, spreads change,
factors turn, and frauds move from card testing to made-up identities.

All densities are known, so the probability of fraud, given components, amount and time,
follows from Bayes' rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from local.generators.drawing import (
    DAY_MS,
    HOUR_MS,
    Floats,
    Ints,
    milliseconds,
    moments,
    normal,
    pick,
    random_of,
    shuffled,
    uuids,
)
from local.generators.transactions import COMPONENTS, Transactions

DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)
N_COMPONENTS = len(COMPONENTS)

# What is drawn here is the same for every seed: the seed chooses transactions.
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
MAXIMUM_CENTS = 10_000_000
HOURS = np.array(
    [
        *(1.6, 1.0, 0.7, 0.6, 0.6, 0.9, 1.4, 2.4, 3.6, 4.6, 5.2, 5.6),
        *(6.0, 5.8, 5.4, 5.4, 5.6, 6.0, 6.4, 6.2, 5.4, 4.4, 3.4, 2.4),
    ]
)


@dataclass(frozen=True)
class Kind:
    """
    Transactions of one distribution.

    ``shift`` is in standard deviations, ``spread`` relative to what is usual.
    ``amount`` has mean and standard deviation of the amount's logarithm. ``share``, of
    all genuine transactions or of all frauds, goes from the first number to the second.
    """

    shift: Mapping[str, float]
    spread: float
    amount: tuple[float, float]
    share: tuple[float, float]


GENUINE = (
    Kind({}, 1.0, (3.1, 1.3), (0.94, 0.94)),
    Kind({}, 2.0, (4.0, 1.6), (0.06, 0.06)),
)
FRAUDS = (
    # Card testing, with tiny amounts.
    Kind(
        {"V14": -3.0, "V12": -2.7, "V17": -2.4, "V10": -2.0, "V4": 1.9, "V11": 1.6},
        *(1.2, (0.3, 0.6), (0.55, 0.25)),
    ),
    # An account is emptied.
    Kind(
        {"V3": -2.7, "V7": -2.3, "V10": -2.4, "V16": -2.0, "V2": 1.9, "V21": 1.6},
        *(1.4, (5.6, 0.9), (0.32, 0.27)),
    ),
    # A made-up identity.
    Kind(
        {"V1": 2.3, "V5": -2.3, "V8": 2.8, "V19": -2.0, "V23": 2.1, "V26": -1.8},
        *(1.1, (4.2, 1.0), (0.05, 0.40)),
    ),
    # As the owner pays, but more.
    Kind({}, 1.0, (4.4, 1.2), (0.08, 0.08)),
)
KINDS = (*GENUINE, *FRAUDS)
# Of each kind, a row; means and standard deviations of amounts are columns.
SHIFT = np.array([[kind.shift.get(name, 0.0) for name in COMPONENTS] for kind in KINDS])
SPREAD = np.array([kind.spread for kind in KINDS])
AMOUNT = np.array([kind.amount for kind in KINDS]).T
FIRST_SHARE, LAST_SHARE = np.array([kind.share for kind in KINDS]).T


def _unit_rows(rows: Floats) -> Floats:
    scaled: Floats = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return scaled


# Two matrices of components × factors whose rows are orthonormal pairs.
FIRST_LOADINGS = _unit_rows(_WORLD.random((N_COMPONENTS, N_FACTORS)) - 0.5)
_OTHER = _WORLD.random((N_COMPONENTS, N_FACTORS)) - 0.5
_ALONG = (_OTHER * FIRST_LOADINGS).sum(axis=1, keepdims=True)
LAST_LOADINGS = _unit_rows(_OTHER - _ALONG * FIRST_LOADINGS)


@dataclass(frozen=True, kw_only=True)
class Cards:
    """
    The process that card transactions are drawn from.

    Args:
        seed: Which transactions are drawn; the process is the same for all.
        transactions: How many.
        fraud_rate: Share of them that is fraud; their number is exact.
        days: From the first possible transaction to ``end``.
        end: Aware; no transaction is at this time or later.
    """

    seed: int = 42
    transactions: int = 8_000
    fraud_rate: float = 0.01
    days: int = 8
    end: datetime = DEFAULT_END

    @cached_property
    def drawn(self) -> Transactions:
        """The transactions, with their true probabilities."""
        n = self.transactions
        is_fraud = np.zeros(n, bool)
        frauds = shuffled(random_of(self.seed, "frauds"), n)
        is_fraud[frauds[: round(n * self.fraud_rate)]] = True
        weight = HOURS[(self._start_ms // HOUR_MS + np.arange(self.days * 24)) % 24]
        random = random_of(self.seed, "moments")
        time_ms = moments(random, n, start_ms=self._start_ms, weight=weight)
        since = self._progress(time_ms)
        random = random_of(self.seed, "groups")
        share = _shares(since)
        genuine = pick(random, share[:, : len(GENUINE)])
        fraud = len(GENUINE) + pick(random, share[:, len(GENUINE) :])
        group = np.where(is_fraud, fraud, genuine)
        random = random_of(self.seed, "components")
        common = np.sqrt(COMMON) * _loadings(since)
        noise = np.zeros((n, N_COMPONENTS))
        for factor in range(N_FACTORS):
            noise += common[:, :, factor] * normal(random, n)[:, None]
        own = normal(random, n * N_COMPONENTS).reshape(n, N_COMPONENTS)
        noise += np.sqrt(1 - COMMON) * own
        standard = SHIFT[group] + SPREAD[group][:, None] * noise
        components = _means(since) + _scales(since) * standard
        mean, deviation = AMOUNT[:, group]
        logarithm = mean + deviation * normal(random_of(self.seed, "amounts"), n)
        cents = np.clip(np.rint(100 * np.exp(logarithm)), 1, MAXIMUM_CENTS)
        drawn = Transactions(
            ids=uuids(random_of(self.seed, "transaction ids"), n),
            time_ms=time_ms,
            components=np.round(components, 6),
            amounts=np.round(cents / 100, 2),
            is_fraud=is_fraud,
            seed=self.seed,
        )
        return replace(drawn, true_probabilities=self.probabilities(drawn))

    @property
    def _start_ms(self) -> int:
        return milliseconds(self.end) - self.days * DAY_MS

    def _progress(self, time_ms: Ints) -> Floats:
        """Return where in its drift the process is, from 0 to 1."""
        since: Floats = (time_ms - self._start_ms) / (self.days * DAY_MS)
        return since

    def probabilities(self, transactions: Transactions) -> Floats:
        """Return P(fraud | components, amount, time), by Bayes' rule."""
        since = self._progress(transactions.time_ms)
        standard = (transactions.components - _means(since)) / _scales(since)
        loadings = _loadings(since)
        # The correlation's inverse by Woodbury: only factors × factors are inverted.
        inner = COMMON * np.einsum("nif,nig->nfg", loadings, loadings)
        inner += (1 - COMMON) * np.eye(N_FACTORS)
        log_amount = np.log(np.maximum(transactions.amounts, 0.005))
        log_share = np.log(_shares(since))
        logs = np.empty(log_share.shape)
        for kind, (spread, mean, deviation) in enumerate(
            zip(SPREAD, *AMOUNT, strict=True)
        ):
            distance = standard - SHIFT[kind]
            projected = np.einsum("nif,ni->nf", loadings, distance)
            solved = np.linalg.solve(inner, projected[:, :, None])[:, :, 0]
            along = COMMON * (projected * solved).sum(axis=1)
            square = (distance**2).sum(axis=1) - along
            square /= (1 - COMMON) * spread**2
            square += ((log_amount - mean) / deviation) ** 2
            volume = N_COMPONENTS * np.log(spread) + np.log(deviation)
            logs[:, kind] = log_share[:, kind] - volume - square / 2
        density = np.exp(logs - logs.max(axis=1, keepdims=True))
        fraud = self.fraud_rate * density[:, len(GENUINE) :].sum(axis=1)
        genuine = (1 - self.fraud_rate) * density[:, : len(GENUINE)].sum(axis=1)
        probability: Floats = fraud / (fraud + genuine)
        return probability


# The process at any time: n rows for n values of ``since``.


def _shares(since: Floats) -> Floats:
    at: Floats = FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * since[:, None]
    return at


def _means(since: Floats) -> Floats:
    way = np.sin(2 * np.pi * (START + since[:, None])) - np.sin(2 * np.pi * START)
    moved: Floats = SCALE * WANDER * way
    return moved


def _scales(since: Floats) -> Floats:
    grown: Floats = SCALE * np.exp(GROWTH * since[:, None])
    return grown


def _loadings(since: Floats) -> Floats:
    """Return n × components × factors; each row is of length 1."""
    angle = TURN * since[:, None, None]
    turned: Floats = np.cos(angle) * FIRST_LOADINGS + np.sin(angle) * LAST_LOADINGS
    return turned
