"""
Statements over the digest, specified: they say what the export itself says.

Each is also asked of the view ``ga_events``, a date at a time: its own common tables in
``undigested.sql`` then stand for the tables of the digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.shop import Shop
from local.ground.fields import fields_of
from propensity import usecases
from propensity.ga4.view import events_view, with_refusals
from propensity.runs.digest import DAYS_AT_ONCE, replace_days
from propensity.runs.digest_state import ExportTable, Rules
from propensity.settings import CONSENTS
from propensity.tables.export import DIGEST
from propensity.tables.export_names import OWN_EVENT, VIEW
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.shop import DAY, microseconds

UNDIGESTED = Path(__file__).with_name("undigested.sql").read_text()
STATEMENTS = ("features", "labels", "converter_amounts")
AS_OF = date(2026, 3, 2)
# Of the run, which knows who has said No since.
TODAY = AS_OF + 6 * DAY
# Windows are short, so that few events lie at all of their bounds.
USE_CASE = replace(
    usecases.load("ga4_purchase"), lookback_days=4, horizon_days=2, history_days=10
)
# Days of the export around the date: the history, two horizons, and what none reads.
FIRST_DAY = AS_OF - 13 * DAY
DAYS = [FIRST_DAY + n * DAY for n in range(20)]
HOUR_US = 3_600_000_000
IS_DEEP = settings().max_examples >= 50
USER_COLUMNS = ("user_pseudo_id", "user_id", "person")
EVENT_NAMES = frozenset({"purchase", "refund"})
MODIFIED = datetime(2026, 3, 1, tzinfo=UTC)

# In the order in which they count.
KINDS = ("events_", "events_fresh_", "events_intraday_", "events_fresh_intraday_")


@dataclass(frozen=True)
class Event:
    """
    An event of an export.

    Attributes:
        day: Place in DAYS of the table that it is in.
        hours: From the day's local midnight to the event.
        fields: Its columns.
        copies: How often the table has its row.
    """

    day: int
    hours: float
    fields: dict[str, Any]
    copies: int


@dataclass
class Table:
    """A table of a day: the kind by its place in KINDS, and which events are in it."""

    kind: int
    events: list[Event] = field(default_factory=list)


def some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


AMOUNTS = some(None, None, 0.0, 5.0, 7.25, -3.0, 2e12)
TRANSACTIONS = some(None, "(not set)", "T1", "T1", "T2", "T3")


@st.composite
def events(draw: st.DrawFn) -> Event:
    """An event of a shop with few users, sessions and orders."""
    params = {
        "ga_session_id": draw(some(None, 0, 1, 1, 2)),
        "ga_session_number": draw(some(None, 0, 1, 2, 5, 1_000_001)),
        "engagement_time_msec": draw(some(None, -1, 0, 900, 86_400_001)),
    }
    name = draw(
        some(
            "page_view", "view_item", "add_to_cart", "begin_checkout", "scroll",
            "purchase", "purchase", "purchase", "refund", OWN_EVENT,
        )
    )  # fmt: skip
    fields: dict[str, Any] = {
        "event_name": name,
        "user_pseudo_id": draw(some("a", "a", "b", "c", None, "(not set)")),
        "user_id": draw(some(None, "u", "u", "v", "null")),
        "user_first_touch_timestamp": draw(some(None, -5, 1, microseconds(AS_OF))),
        "traffic_source": {"source": draw(some(None, "s", "t", "(not set)"))},
        "device": {"category": draw(some(None, "mobile", "desktop"))},
        "geo": {"country": draw(some(None, "", "Norway"))},
        "privacy_info": {
            "analytics_storage": draw(some("Yes", "Yes", "Yes", "No", None)),
            "ads_storage": draw(some("Yes", "Yes", "Yes", "No", None)),
        },
    }
    if name in ("purchase", "refund"):
        params["value"] = draw(AMOUNTS)
        params["transaction_id"] = draw(some(None, None, "T1", "T4"))
        fields["event_value_in_usd"] = draw(some(None, None, 4.0, 0.0))
        fields["ecommerce"] = {
            "transaction_id": draw(TRANSACTIONS),
            "purchase_revenue": draw(AMOUNTS),
            "purchase_revenue_in_usd": draw(some(None, None, None, 6.0)),
            "refund_value": draw(AMOUNTS),
        }
        items = draw(st.lists(some("mug", "cap", None), max_size=2))
        fields["items"] = [{"item_id": item, "quantity": 1} for item in items]
    known = {key: value for key, value in params.items() if value is not None}
    fields["event_params"] = shop.parameters(known)
    # Most happen on the table's day; some are late, or of a clock that is ahead.
    late = draw(some(0, 0, 0, 0, 24, 72, -24, -48))
    hours = draw(some(0, 1e-9, 6, 12, 18, 24 - 1e-9)) - late
    day = draw(st.integers(0, len(DAYS) - 1))
    copies = draw(some(1, 1, 1, 2))
    return Event(day=day, hours=hours, fields=fields, copies=copies)


@dataclass(frozen=True)
class Export:
    """
    What came into an export, and when it was digested.

    Attributes:
        require: The consent that is asked for.
        zone: Hours that the property's midnight is after that of UTC.
        tables: By stage, the tables that came, by place of the day.
        spans: By stage, how many days a statement digests.
    """

    require: str
    zone: float
    tables: list[dict[int, Table]]
    spans: list[int]


@st.composite
def exports(draw: st.DrawFn) -> Export:
    """
    An export whose days come in stages: streamed, then daily, then replaced.

    A table that comes again has some of the events, or all of them, or others.
    """
    drawn = draw(st.lists(events(), min_size=12, max_size=40))
    stages = draw(st.integers(1, 3))
    tables: list[dict[int, Table]] = []
    for stage in range(stages):
        came: dict[int, Table] = {}
        for day in sorted({event.day for event in drawn}):
            if stage and draw(some(True, False)):
                continue
            of_day = [event for event in drawn if event.day == day]
            # The last table of a day is whole; one before it may lack events.
            if stage < stages - 1:
                of_day = of_day[: draw(st.integers(0, len(of_day)))]
            came[day] = Table(kind=draw(some(0, 0, 1, 2, 3)), events=of_day)
        tables.append(came)
    return Export(
        require=draw(st.sampled_from(CONSENTS)),
        zone=draw(some(0, 0, 14, -12, 5.5)),
        tables=tables,
        spans=draw(st.lists(st.integers(1, 7), min_size=stages, max_size=stages)),
    )


class Warehouse:
    """A database with the export, its digest, and the statements over both."""

    def __init__(self, use_case: usecases.UseCase) -> None:
        self.use_case = use_case
        self.deployment = Deployment()
        self.warehouse = self.deployment.warehouse
        self.ground = self.deployment.ground.bigquery
        self.shards = (self.deployment.project, self.deployment.dataset, "shards")
        self.schema = pa.schema([pa.field("table_suffix", pa.string())])
        for column in ARROW_SCHEMA:
            self.schema = self.schema.append(column)
        described = fields_of(self.schema)
        self.ground.create_table(bigquery.Table(".".join(self.shards), described))
        self.require("false")
        for table in DIGEST:
            self.warehouse.create(table)
        self.number = 0

    def require(self, consent: str) -> None:
        """Have the view of the export ask for a consent, and one with refusals."""
        view = events_view("d", require=consent, values=())
        # There are no tables of days, but one with all rows.
        view = re.sub(
            r"FROM \(\n-- Part of ga_events.*?\n\) AS e",
            "FROM shards AS e",
            view,
            flags=re.S,
        )
        self.source = with_refusals(view)
        self.warehouse.replace_view(VIEW, view)
        self.warehouse.replace_view("ga_words", f"SELECT * FROM {self.source}")

    def play(self, export: Export) -> None:
        """Let the tables come, and digest them after each stage."""
        self.deployment.empty(DIGEST)
        self.require(export.require)
        present: dict[tuple[int, int], Table] = {}
        for came, span in zip(export.tables, export.spans, strict=True):
            for day, table in came.items():
                present[day, table.kind] = table
            counted: dict[int, Table] = {}
            for day, kind in sorted(present, reverse=True):
                counted[day] = present[day, kind]
            self._load(counted, export.zone)
            self._digest(sorted(came), sorted(counted), span)

    def _load(self, counted: dict[int, Table], zone: float) -> None:
        rows = []
        for place, table in counted.items():
            day = DAYS[place]
            for number, event in enumerate(table.events):
                time = microseconds(day) + round((event.hours - zone) * HOUR_US)
                row = {
                    "table_suffix": f"{day:%Y%m%d}",
                    "event_date": f"{day:%Y%m%d}",
                    # No two events are of one microsecond, but the copies of a row.
                    "event_timestamp": time + 100 * place + number,
                }
                rows += event.copies * [row | event.fields]
        self.warehouse.execute("TRUNCATE TABLE shards")
        self.ground.append(self.shards, pa.Table.from_pylist(rows, self.schema))

    def _digest(self, changed: list[int], present: list[int], span: int) -> None:
        """Digest the days that came, and what lies between them, some at once."""
        while changed:
            last = changed[0] + span
            tables = []
            for place in present:
                if changed[0] <= place < last:
                    table = ExportTable(
                        name="",
                        day=DAYS[place],
                        modified=MODIFIED,
                        size_bytes=1,
                        row_count=1,
                    )
                    tables.append(table)
            rules = Rules(
                source=self.source, statement="", consent="", event_names=EVENT_NAMES
            )
            replace_days(self.warehouse, tables, rules, run_id="")
            changed = [place for place in changed if place >= last]

    def bring(self, tables: Mapping[date, pa.Table]) -> None:
        """Let tables of neighbouring days come, and digest a month of them at once."""
        self.warehouse.execute("TRUNCATE TABLE shards")
        for day, rows in tables.items():
            suffix = pa.array([f"{day:%Y%m%d}"] * len(rows))
            self.ground.append(self.shards, rows.append_column("table_suffix", suffix))
        rules = Rules(statement="", consent="", event_names=EVENT_NAMES)
        month = list[ExportTable]()
        for day in tables:
            table = ExportTable(
                name="", day=day, modified=MODIFIED, size_bytes=1, row_count=1
            )
            month.append(table)
            if len(month) == DAYS_AT_ONCE or day == max(tables):
                replace_days(self.warehouse, month, rules, run_id="")
                month = []

    def digested(
        self, name: str, as_ofs: Sequence[date], user_column: str
    ) -> list[dict[str, Any]]:
        """Return a statement's rows over the digest, of all dates at once."""
        return self._rows(self.use_case.statement(name), as_ofs, user_column)

    def plain(
        self, name: str, as_ofs: Sequence[date], user_column: str
    ) -> list[dict[str, Any]]:
        """Return the rows of a statement over the export, of each date alone."""
        text = self.use_case.statement(name)
        text = text.replace("WITH\n", f"WITH\n{UNDIGESTED}", 1)
        rows = []
        for as_of in as_ofs:
            rows += self._rows(text, [as_of], user_column)
        return rows

    def _rows(
        self, text: str, as_ofs: Sequence[date], user_column: str
    ) -> list[dict[str, Any]]:
        settings = self.warehouse.settings
        window = self.use_case.window(settings, as_ofs, today=TODAY)
        window["user_column"] = user_column
        return list(self.warehouse.table(text, window).to_pylist())


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    return Warehouse(USE_CASE)


def by_key(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    keyed = {(row["as_of"], row["user_id"]): row for row in rows}
    assert len(keyed) == len(rows)
    return keyed


@pytest.mark.hypothesis
@pytest.mark.timeout(1200)
@given(
    export=exports(),
    offsets=st.sets(st.integers(-1, 3), min_size=1, max_size=2),
    user_column=st.sampled_from(USER_COLUMNS),
)
# An example takes seconds, and breaks show after few of them.
@settings(
    max_examples=settings().max_examples // (2 if IS_DEEP else 5),
    suppress_health_check=list(HealthCheck),
)
def test_the_digest_says_what_the_export_says(warehouse, export, offsets, user_column):
    """Whatever came late, twice, streamed or again, whatever was sent by us, whoever
    said No, and however its days were digested: the same users with the same features,
    labels and amounts."""
    as_ofs = [AS_OF + timedelta(days=offset) for offset in sorted(offsets)]
    warehouse.play(export)

    for name in STATEMENTS:
        expected = by_key(warehouse.plain(name, as_ofs, user_column))
        assert by_key(warehouse.digested(name, as_ofs, user_column)) == expected


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_digest_says_what_the_shop_of_the_demo_says():
    """With all windows as they are, of 600 users; days are digested again once their
    late events have come."""
    use_case = usecases.load("ga4_purchase")
    demo = Shop(users=600, days=150)
    warehouse = Warehouse(use_case)
    warehouse.bring({day: demo.shard(day, seen_on=day) for day in demo.dates})
    warehouse.bring({day: demo.shard(day) for day in demo.dates})
    as_ofs = [demo.last_full_day - n * DAY for n in (7, 14)]

    for name in ("features", "converter_amounts"):
        expected = by_key(warehouse.plain(name, as_ofs, "person"))
        assert by_key(warehouse.digested(name, as_ofs, "person")) == expected
        assert len(expected) > 50
