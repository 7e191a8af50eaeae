"""The estimate: a page for a person, figures for a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from offline.cost.prices import GIB, UNITS, by_service, charges, prices
from offline.cost.usage import IDLE_S, exceeded, up_s, usage
from offline.limits import MONTH_S
from offline.partitions import Size


def summary(size: Size) -> str:
    """Return the bill of a size, as Markdown."""
    lines = usage(size)
    charged = [charge for charge in charges(lines) if charge.amount]
    rows = [
        "| service | used in a month | free | USD |",
        "|---|--:|--:|--:|",
        *(
            f"| {charge.service} | {shown(charge.amount)} {UNITS[charge.price]} "
            f"| {shown(charge.free)} | {charge.usd:,.2f} |"
            for charge in charged
        ),
    ]
    # Scans of less than a cent are left out.
    scanned = [
        f"| `{line.function}` | {line.what} | {shown(line.amount * 1024)} |"
        for line in lines
        if line.price == "query_tib" and line.amount * prices()["query_tib"].usd > 0.01
    ]
    if scanned:
        scanned = ["", "| function | scans a month | GiB |", "|---|---|--:|", *scanned]
    services = by_service(charged)
    total = sum(services.values())
    summary = ", ".join(
        f"{name} {usd:,.2f}" for name, usd in services.items() if usd >= 0.005
    )
    least = sum(charge.usd for charge in charges(lines, is_least=True))
    is_range = total - least >= 0.005
    both = f"{least:,.2f} to {total:,.2f}" if is_range else f"{total:,.2f}"
    sums = f"**{both} USD a month**" + (f": {summary}." if summary else ".")
    if is_range:
        sums += f"\n{RANGE}"
    ups = [up_summary(target, up) for target, up in up_s(size).items()]
    return "\n".join([sums, "", *rows, *scanned, *ups, "", *limits_summary(size)])


RANGE = (
    "The lower sum is for queries for a few users that bill the least that BigQuery "
    "bills; the higher one, and all that follows, for the blocks of 64 MB that they "
    "lie in."
)


def up_summary(target: str, up: float) -> str:
    """Return what is billed of a function whether or not it has requests."""
    return (
        f"\n`{target}` is billed while an instance of it is up, idle or not: taken to "
        f"be {up / 3600:,.0f} hours of the month's {MONTH_S / 3600:,.0f}, "
        f"{IDLE_S // 60} minutes beyond each request.\n"
        f"You pay that only if you use `{target}`: without scorings nothing is up."
    )


def limits_summary(size: Size) -> list[str]:
    """Return the settings to raise, with new values, as lines of Markdown."""
    exceeded_limits = exceeded(size)
    if not exceeded_limits:
        return ["No default limit on bytes is too low for this."]
    return [
        "Raise these before the first run, to half as much again as is computed:",
        "",
        "| setting | default, GiB | exceeded by | GiB | otherwise | set to, bytes |",
        "|---|--:|---|--:|---|--:|",
        *(
            f"| `{limit.setting}` | {shown(limit.value / GIB)} | {limit.what} "
            f"| {shown(limit.needed / GIB)}{' *' * limit.grows} "
            f"| {limit.otherwise} | {limit.set_to} |"
            for limit in exceeded_limits
        ),
        *(["", GROWS] if any(limit.grows for limit in exceeded_limits) else []),
    ]


GROWS = (
    "\\* grows with the age of the history: `PROPENSITY_RETENTION_DAYS` "
    "(such as `ma_predictions_table=90`) ends that."
)


def shown(amount: float) -> str:
    """Return an amount with three digits that matter."""
    if amount == 0:
        return "0"
    if amount >= 100:
        return f"{amount:,.0f}"
    return f"{amount:.3g}"


@dataclass(frozen=True)
class Estimate:
    """What a month costs at a size: a page for a person, figures for a program."""

    size: Size

    def __str__(self) -> str:
        return summary(self.size)

    def fields(self) -> dict[str, Any]:
        """Return all figures."""
        size = self.size
        charged = charges(usage(size))
        least = charges(usage(size), is_least=True)
        return {
            "size": asdict(size),
            "usage": [asdict(line) for line in usage(size)],
            "charges": [asdict(charge) for charge in charged],
            "usd_by_service": by_service(charged),
            "usd": sum(charge.usd for charge in charged),
            "usd_least": sum(charge.usd for charge in least),
            "seconds_up": up_s(size),
            "limits": [
                {**asdict(limit), "set_to": limit.set_to} for limit in exceeded(size)
            ],
        }
