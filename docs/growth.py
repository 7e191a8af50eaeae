"""
Bytes, time and money of a shop as it grows, and what to switch when; a part of the page
of scale.

Bytes are the model's of ``offline/volumes.py``, money is theirs and all else at list
price, and time is a measured slope times the users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from offline.cost.lookups import INDEX_MEMORY, INDEX_USER_BYTES, index_bytes
from offline.cost.prices import MIB, TIB, charges, prices
from offline.cost.usage import usage
from offline.limits import MONTH_S, WEEKS, scans
from offline.partitions import CHANGED_DAYS, EVENTS_A_USER_DAY, Size
from offline.volumes import GIB, LEAST_BILLED, Reading, readings
from propensity.settings import Settings

SHOPS = {
    "1 M users, 1 M events a day": Size(users=1_000_000, events_a_day=1_000_000),
    "10 M users, 20 M": Size(users=10_000_000, events_a_day=20_000_000),
    "50 M users, 100 M": Size(users=50_000_000, events_a_day=100_000_000),
}
ON = Settings(project="p")
OFF = Settings(project="p", incremental_features=False)
SUMS = ("summed_days", "sum_user_days", "incremental_features")

# Processor seconds of 01 a million users: the slope of docs/benchmarks.md, Predictions,
# from a hundred thousand users to a million.
SCORED_S = (15.92 - 1.68) / 0.9
PROCESSORS = 2
# The same of a million users' index, by the same page, from a million to ten.
INDEX_S = 10 / 1.254374 - 1 / 1.376747
INDEX_S /= 9
# Lookups to be compared.
A_SECOND = 100

OPENING = """\
## As a shop grows

One use case on the export, no stream, and a history of a year.
Bytes and USD are computed as above and as in [cost](cost.md); nothing was billed.
Time is measured: {slope:.1f} processor seconds a million users, the slope of [predictions](benchmarks.md#predictions) from a hundred thousand users to a million, and {index:.2f} for [their index](benchmarks.md#the-prediction-index); how long BigQuery takes besides is not known here.
A user is assumed to have {events} events on a day with any, and a weekly run to find {days} days of the export new or written anew.
"""  # noqa: E501

# A line for each choice: what it is, from which size on, and what it gains.
SWITCHES = """\
What to switch when:

- Limits on bytes: the table above says from which size on they are exceeded; `deploy/setup.sh` says which to raise, and to what.
- From about {quarter:.0f} events a user and day on, user-day sums (`PROPENSITY_INCREMENTAL_FEATURES`, on by default) read less than a quarter of the export in a weekly run; below, still less than all of it.
  Turn them off for a property that only streams, whose days change until the end.
- Training reads the export itself, once a month: from ten million users on it is most of what is scanned. Fewer snapshots (`PROPENSITY_TRAINING_SNAPSHOTS=26`) read about half of it, and so does every second month.
- Lookups come from the index (`PROPENSITY_LOOKUP_SOURCE=index`, the default). An instance of 512 MiB holds one of {room:.0f} MiB, {users:.1f} million users, beside the next one; a larger one is read from the bucket, a block a lookup. For lookups in microseconds raise `--memory` in `02-GetProba/deploy.sh` to twice the file and 128 MiB, and let rows expire (`PROPENSITY_RETENTION_DAYS="ma_predictions_table=90"`), so that it holds no users of last year.
- If 01-Predictions should move no features, score in BigQuery (`PROPENSITY_SCORE_WITH=bigquery`): the function then uses no processor for it. BigQuery reads as many bytes; up to ten million users the function takes minutes.
- From ten million users on raise `PROPENSITY_QUERY_TIMEOUT_S` to 1800.
- `propensity backfill` for past weeks: one query for all of them, at {backfill:.2f} of the bytes of eight single runs on the export.
"""  # noqa: E501


def lines() -> list[str]:
    """Return the section, as lines of Markdown."""
    head = ["", *SHOPS]
    table = [head, ["---", *["--:"] * len(SHOPS)], *_rows()]
    return [
        OPENING.format(
            slope=SCORED_S, index=INDEX_S, events=EVENTS_A_USER_DAY, days=CHANGED_DAYS
        ),
        *("| " + " | ".join(cells) + " |" for cells in table),
        "",
        SWITCHES.format(
            quarter=events_for(0.25),
            backfill=_backfill(),
            room=INDEX_MEMORY / MIB,
            users=INDEX_MEMORY / INDEX_USER_BYTES / 1e6,
        ).rstrip(),
    ]


def _rows() -> Iterator[list[str]]:
    def row(what: str, value: Callable[[Size], float], digits: int = 0) -> list[str]:
        return [what, *(f"{value(size):,.{digits}f}" for size in SHOPS.values())]

    yield row("01, a week: GiB read, from the export", exported)
    yield row("the same by user-day sums", summed)
    yield row("its share of the export's", share, 2)
    yield row(
        "01, first run of a month: GiB", lambda size: summed(size, is_monthly=True)
    )
    yield row("01, a run: processor seconds", lambda size: SCORED_S * size.users / 1e6)
    yield row(
        "of an instance, seconds, both processors busy",
        lambda size: SCORED_S * size.users / 1e6 / PROCESSORS,
    )
    yield row("00, a training: GiB", lambda size: _of(size, "training_rows"))
    yield row("03, a week: GiB", lambda size: _of(size, "evaluation_rows"), 1)
    yield row("01, the prediction index of the week's users: MB", indexed)
    yield row("in the memory of an instance beside the next one: MB", _held)
    yield row("of all who were scored in a year, if nobody returns: MB", grown)
    yield row(
        "its build: processor seconds", lambda size: INDEX_S * size.users / 1e6, 1
    )
    yield row("USD a month without lookups", usd)
    yield row("the same without user-day sums", lambda size: usd(size) + saved(size))
    yield row(f"{A_SECOND} lookups a second, by the index: USD a month", _busy)
    yield row(
        "queries of BigQuery instead, at 10 MiB, the least: USD a month",
        lambda size: LEAST_BILLED / TIB * _query_usd() * A_SECOND * MONTH_S,
    )
    yield row("the same, at the blocks of the users: USD a month", _billed_usd)
    yield row("GiB billed a query, of one user", _looked_up, 2)
    yield row("01 with scoring in BigQuery, a week: GiB read", _scored_there)


def _readings(size: Size, settings: Settings = ON) -> dict[str, Reading]:
    return {
        reading.statement.name: reading
        for reading in readings(size, settings)
        if reading.statement.use_case in ("", "ga4_purchase")
    }


def _of(size: Size, name: str) -> float:
    return _readings(size)[name].bound / GIB


def exported(size: Size) -> float:
    """Return the GiB of a weekly run's features, from the export."""
    return _readings(size, OFF)["features"].bound / GIB


def summed(size: Size, *, is_monthly: bool = False) -> float:
    """Return the GiB of a run's features by user-day sums."""
    bounds = _readings(replace(size, sums_all_days=is_monthly))
    return sum(bounds[name].bound for name in SUMS) / GIB


def share(size: Size) -> float:
    """Return what a weekly run reads by user-day sums, of what the export takes."""
    return summed(size) / exported(size)


def events_for(wanted: float) -> float:
    """Return the events of a user and day from which on the share is no more."""
    size = SHOPS["1 M users, 1 M events a day"]
    few = CHANGED_DAYS / 62
    # What depends on the rows of the sums, per event, goes down with events a row.
    return (share(size) - few) * EVENTS_A_USER_DAY / (wanted - few)


def usd(size: Size) -> float:
    """Return the list price of a month without lookups."""
    return sum(charge.usd for charge in charges(usage(size)))


def saved(size: Size) -> float:
    """Return the list price of what user-day sums spare in a month."""
    scanned = sum(
        scan.billed * scan.runs
        for scan in scans(size)
        if scan.reading.statement.name in SUMS
    )
    tib = exported(size) * WEEKS / 1024 - scanned / GIB / 1024
    return tib * _query_usd()


def _looked_up(size: Size) -> float:
    return _readings(replace(size, lookups=1))["lookup"].billed(1) / GIB


def indexed(size: Size) -> float:
    """Return the MB of the index of a week's users."""
    return index_bytes(replace(size, returning=1.0)) / 1e6


def grown(size: Size) -> float:
    """Return the MB of the index where nothing expires and nobody returns."""
    return index_bytes(size) / 1e6


def _held(size: Size) -> float:
    """Return the MB of two indexes; 0 where blocks of them are read instead."""
    both = 2 * indexed(size)
    return both if both * 1e6 <= 2 * INDEX_MEMORY else 0.0


def _busy(size: Size) -> float:
    """Return the list price of a month of lookups from the index."""
    lookups = round(A_SECOND * MONTH_S)
    return usd(replace(size, lookups=lookups)) - usd(size)


def _billed_usd(size: Size) -> float:
    return _looked_up(size) / 1024 * _query_usd() * A_SECOND * MONTH_S


def _scored_there(size: Size) -> float:
    """Return the GiB of a run that scores in BigQuery: features, and what it staged."""
    staged = _of(size, "staged_users") + _of(size, "unstage_users")
    return summed(size) + staged


def _backfill() -> float:
    """Return the days of eight weeks, of those of eight single runs."""
    return (62 + 7 * 7) / (8 * 62)


def _query_usd() -> float:
    return prices()["query_tib"].usd
