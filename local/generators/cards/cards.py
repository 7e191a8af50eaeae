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
some wrong first and corrected later, and some never; ``Truths.deliveries`` sends them.

Real transactions
-----------------
``read_cards`` reads the columns of the public data set (Time, V1 to V28, Amount, Class)
and returns the same kind of object, whose optimum nobody knows.

Everything follows from the seed: the same arguments give the same bytes, in the manner
of ``local/generators/drawing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from local.generators.cards.transactions import COMPONENTS, N_COMPONENTS, Transactions
from local.generators.drawing import (
    DAY_MS,
    HOUR_MS,
    Flags,
    Floats,
    Ints,
    milliseconds,
    moments,
    normal,
    pick,
    random_of,
    require,
    shuffled,
    uuids,
)

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
HOURS = np.ravel(
    [
        [1.6, 1.0, 0.7, 0.6, 0.6, 0.9, 1.4, 2.4, 3.6, 4.6, 5.2, 5.6],
        [6.0, 5.8, 5.4, 5.4, 5.6, 6.0, 6.4, 6.2, 5.4, 4.4, 3.4, 2.4],
    ]
)


@dataclass(frozen=True)
class Kind:
    """
    Transactions of one distribution: usual, unusual, or a kind of fraud.

    ``shift`` is in standard deviations, by component. ``spread`` is relative to what is
    usual, ``amount`` the mean and standard deviation of the amount's logarithm, and
    ``share`` of all genuine transactions or of all frauds goes from the first of its
    numbers to the second.
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


GENUINE = (
    Kind("usual", {}, 1.0, AMOUNT[0], share=(1 - UNUSUAL, 1 - UNUSUAL)),
    Kind("unusual", {}, UNUSUAL_SPREAD, AMOUNT[1], share=(UNUSUAL, UNUSUAL)),
)
FRAUDS = (
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


KINDS = (*GENUINE, *FRAUDS)


def shares(kinds: Sequence[Kind], since: Floats) -> Floats:
    """Return the share of each kind at each time, which sum to 1."""
    first, last = np.array([kind.share for kind in kinds]).T
    at: Floats = first + (last - first) * since[:, None]
    return at


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
        conditions = {
            "a seed of 0 or more": self.seed >= 0,
            "at least 1 transaction": self.transactions >= 1,
            "a fraud rate from 0 to 1": 0 <= self.fraud_rate <= 1,
            "at least 1 day": self.days >= 1,
            "a drift from 0 to 1": 0 <= self.drift <= 1,
            "an end with a time zone": self.end.tzinfo is not None,
        }
        require(conditions, of=self)

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
        shift = np.stack([kind.shifts for kind in KINDS])[group]
        spread = np.array([kind.spread for kind in KINDS])[group]
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
        mean, deviation = np.array([kind.amount for kind in KINDS])[group].T
        logarithm = mean + deviation * normal(random_of(self.seed, "amounts"), n)
        cents = np.clip(np.rint(100 * np.exp(logarithm)), 1, MAXIMUM_CENTS)
        transactions = Transactions(
            ids=uuids(random_of(self.seed, "transaction ids"), n),
            time_ms=time_ms,
            components=np.round(components, DECIMALS),
            amounts=np.round(cents / 100, 2),
            is_fraud=is_fraud,
            seed=self.seed,
        )
        return replace(
            transactions, true_probabilities=self.probabilities(transactions)
        )

    def _times(self) -> Ints:
        """Draw moments, in order, by hour of the day."""
        random, n = random_of(self.seed, "moments"), self.transactions
        hours = np.arange(self.days * 24)
        weight = HOURS[(self._start_ms // HOUR_MS + hours) % 24]
        return moments(random, n, start_ms=self._start_ms, weight=weight)

    @property
    def _start_ms(self) -> int:
        return milliseconds(self.end) - self.days * DAY_MS

    def _progress(self, time_ms: Ints) -> Floats:
        """Return where in its drift the process is, from 0 to 1, times ``drift``."""
        since: Floats = self.drift * (time_ms - self._start_ms) / (self.days * DAY_MS)
        return since

    def _groups(self, is_fraud: Flags, since: Floats) -> Ints:
        """Draw what each transaction is: usual, unusual, or a kind of fraud."""
        random = random_of(self.seed, "groups")
        genuine = pick(random, shares(GENUINE, since))
        return np.where(
            is_fraud, len(GENUINE) + pick(random, shares(FRAUDS, since)), genuine
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
        share = np.column_stack([shares(GENUINE, since), shares(FRAUDS, since)])
        logs = np.empty((len(since), len(KINDS)))
        for number, kind in enumerate(KINDS):
            distance = standard - kind.shifts
            projected = np.einsum("nif,ni->nf", loadings, distance)
            solved = np.linalg.solve(inner, projected[:, :, None])[:, :, 0]
            square = (distance**2).sum(axis=1) - COMMON * (projected * solved).sum(
                axis=1
            )
            square /= (1 - COMMON) * kind.spread**2
            mean, deviation = kind.amount
            square += ((log_amount - mean) / deviation) ** 2
            volume = N_COMPONENTS * np.log(kind.spread) + np.log(deviation)
            # A share of nothing is impossible, and leaves no doubt.
            with np.errstate(divide="ignore"):
                logs[:, number] = np.log(share[:, number]) - volume - square / 2
        logs -= logs.max(axis=1, keepdims=True)
        density = np.exp(logs)
        fraud = self.fraud_rate * density[:, len(GENUINE) :].sum(axis=1)
        genuine = (1 - self.fraud_rate) * density[:, : len(GENUINE)].sum(axis=1)
        probability: Floats = fraud / (fraud + genuine)
        return probability
