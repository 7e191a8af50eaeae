"""List prices, and the charges by them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import date
from functools import cache
from pathlib import Path

PRICES = Path(__file__).parent.parent / "prices.toml"
MIB, GIB, TIB = 1024**2, 1024**3, 1024**4


@dataclass(frozen=True, kw_only=True)
class Price:
    """One list price; ``free`` is in units of it."""

    usd: float
    free: float
    service: str
    note: str
    source: str
    checked: date
    seen_at: str = ""


@dataclass(frozen=True)
class Line:
    """
    One thing that is used in a month: how much of it, and what for.

    ``least`` is what it would be if clusters spared all that they can; elsewhere the
    amount.
    """

    price: str
    what: str
    _: KW_ONLY
    amount: float
    function: str = ""
    least: float | None = None


@cache
def prices() -> Mapping[str, Price]:
    """Return the list prices by name."""
    read = tomllib.loads(PRICES.read_text("utf-8"))
    return {name: Price(**entry) for name, entry in read.items()}


@dataclass(frozen=True, kw_only=True)
class Charge:
    """The charge of a month for one price."""

    price: str
    service: str
    amount: float
    free: float
    usd: float


def charges(lines: Sequence[Line], *, is_least: bool = False) -> list[Charge]:
    """
    Return what is charged, one for each price, in the order of ``prices.toml``.
    """
    charged = []
    for name, price in prices().items():
        amount = sum(
            line.amount if line.least is None or not is_least else line.least
            for line in lines
            if line.price == name
        )
        billed = max(0.0, amount - price.free)
        charged.append(
            Charge(
                price=name,
                service=price.service,
                amount=amount,
                free=min(amount, price.free),
                usd=billed * price.usd,
            )
        )
    return charged


def by_service(charged: Sequence[Charge]) -> dict[str, float]:
    """Return USD by service."""
    services: dict[str, float] = {}
    for charge in charged:
        services[charge.service] = services.get(charge.service, 0.0) + charge.usd
    return services


UNITS = {
    "query_tib": "TiB scanned",
    "table_gib_month": "GiB stored",
    "old_table_gib_month": "GiB stored, unchanged for 90 days",
    "append_gib": "GiB appended",
    "read_tib": "TiB read",
    "vcpu_s": "vCPU-seconds",
    "gib_s": "GiB-seconds",
    "kept_vcpu_s": "vCPU-seconds up",
    "kept_gib_s": "GiB-seconds up",
    "request_million": "million requests",
    "message_tib": "TiB of messages",
    "kept_message_gib_month": "GiB of messages kept",
    "object_gib_month": "GiB of objects",
    "object_write_thousand": "thousand writes",
    "object_read_thousand": "thousand reads",
    "job_month": "schedules",
    "log_gib": "GiB of logs",
    "condition_month": "alert conditions",
    "series_million": "million time series looked at",
    "image_gib_month": "GiB of images",
}
