"""
The table of ``try --example``: customers who pay by the month, of whom some leave.

What makes a customer leave isn't in the table: a mood that fades, trouble that stays
until it is solved. The columns show it late and roughly, as in a real shop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random

from propensity.errors import RequestError
from propensity.spreadsheet import csv_of
from propensity.whole_files import write_whole

FILE = Path("churn.csv")
LIST = Path("list.csv")
# As they are typed after the file.
OPTIONS = {"user": "customer", "time": "month", "label": "churned", "scores": LIST}

SEED = 2
CUSTOMERS = 1_200
# The others begin later in the year.
CUSTOMERS_OF_JANUARY = 760
MONTHS = 12
DAYS = 30
PLANS = {"basic": 5, "plus": 3, "family": 2}
REASONS = ("price", "moved", "service")
CITIES = (
    "Berlin", "Hamburg", "Vienna", "Munich", "Cologne", "Milan", "Rome", "Prague",
    "Zurich", "Oslo", "Turin", "Lyon", "Leeds", "Nice", "Porto", "Genoa", "Leipzig",
    "Dresden", "Essen", "Bremen", "Basel", "Geneva", "Graz", "Linz", "Ghent",
    "Bruges", "Lille", "Nantes", "Seville", "Florence", "Siena", "Bergen", "Malmo",
    "Cork", "Delft", "Leiden", "Kiel", "Bonn", "Aachen", "Augsburg",
)  # fmt: skip
COLUMNS = (
    "customer", "month", "visits", "spend", "plan", "city", "signed_up",
    "support_calls", "closed_reason", "churned",
)  # fmt: skip


def write_example() -> None:
    """
    Write ``churn.csv`` into this folder, unless it is there already.

    Raises:
        RequestError: A file of somebody else's has its name, or the list's.
    """
    content = csv_of(COLUMNS, _rows(Random(SEED)))
    if FILE.exists() and FILE.read_bytes() == content:
        return
    for file in (FILE, LIST):
        if file.exists():
            raise RequestError(
                f"{file} is already here, and --example would replace it",
                hint="Run it in an empty folder",
            )
    write_whole(FILE, content)


@dataclass(frozen=True)
class _Customer:
    name: str
    signed_up: date
    plan: str
    city: str
    habit: float


def _rows(random: Random) -> Iterator[tuple[object, ...]]:
    """Yield each customer's months, until the one in which they leave."""
    for number in range(1, CUSTOMERS + 1):
        late = number - CUSTOMERS_OF_JANUARY
        if late <= 0:
            first = 1
            days = int(random.expovariate(1 / 500)) + DAYS
        else:
            first = 2 + (late - 1) * (MONTHS - 1) // (CUSTOMERS - CUSTOMERS_OF_JANUARY)
            days = random.randrange(1, 28)
        [plan] = random.choices(list(PLANS), list(PLANS.values()))
        popularity = [1 / (rank + 3) for rank in range(len(CITIES))]
        [city] = random.choices(CITIES, popularity)
        habit = random.gauss(-0.9, 0.8)
        if plan != "basic":
            habit += 0.4
        signed_up = date(2025, first, 1) - timedelta(days)
        customer = _Customer(f"C{number:04}", signed_up, plan, city, habit)
        yield from _months(customer, first, random)


def _months(
    customer: _Customer, first: int, random: Random
) -> Iterator[tuple[object, ...]]:
    mood = 0.0
    trouble = 0.0
    for month in range(first, MONTHS + 1):
        mood = 0.75 * mood + random.gauss(0, 0.75)
        trouble *= 0.5
        if random.random() < 0.15:
            trouble += 3 * random.random()
        visits = _days_with(_probability(customer.habit + mood), random)
        calls: int | None = _days_with(_probability(0.8 * trouble - 4), random)
        spend = _spend(visits, customer, random)
        day = date(2025, month, 1)
        leaves = random.random() < _probability(
            _odds(customer, (day - customer.signed_up).days, mood, trouble, random)
        )
        has_left = leaves and month < MONTHS
        reason = None
        if has_left and random.random() < 0.8:
            reason = random.choice(REASONS)
        churned = None
        if month < MONTHS:
            churned = "yes" if leaves else "no"
        if random.random() < 0.1:
            calls = None
        yield (
            customer.name,
            f"{day:%Y-%m}",
            visits,
            spend,
            customer.plan,
            customer.city,
            f"{customer.signed_up:%d.%m.%Y}",
            calls,
            reason,
            churned,
        )
        if has_left:
            return


def _odds(
    customer: _Customer, tenure: int, mood: float, trouble: float, random: Random
) -> float:
    """Return the log-odds of leaving: the new leave more often, and after each year."""
    odds = -4.8 - mood - 0.2 * customer.habit + 1.4 * trouble
    odds += 1.8 * math.exp(-tenure / 120)
    if customer.plan == "basic":
        odds += 0.9
    if tenure % 365 > 335:
        odds += 1.0
    return odds + random.gauss(0, 0.3)


def _spend(visits: int, customer: _Customer, random: Random) -> float | None:
    """Return what was paid; None for nothing, and where the till has lost it."""
    spend = 0.0
    for _ in range(visits):
        if random.random() < 0.5:
            spend += 3 + random.expovariate(1 / 9)
    if customer.plan == "family":
        spend *= 1.5
    if not spend or random.random() < 0.05:
        return None
    return round(spend, 2)


def _days_with(probability: float, random: Random) -> int:
    return sum(random.random() < probability for _ in range(DAYS))


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
