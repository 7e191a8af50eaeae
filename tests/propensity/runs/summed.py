"""Sites whose export is summed up day by day, and one that has no other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from propensity import tables, usecases
from propensity.edges.warehouse import Warehouse
from propensity.privacy import consent
from propensity.runs import user_days
from propensity.runs.run import Run
from propensity.settings import Settings
from tests import shop
from tests.conftest import Workplace, new_workplace
from tests.shop import DAY, WEEK, Row, event, microseconds, paid, purchase

USE_CASE = usecases.load("ga4_purchase")
FIRST = date(2026, 1, 5)
AS_OF = date(2026, 3, 16)
BEGAN = datetime(2026, 3, 16, 6, tzinfo=UTC)
KEY = "k" * 32


def of_day(day: date, seed: int, *, zone: int = 0, users: int = 4) -> list[Row]:
    """Return a local day's events: visits, purchases that are loaded again, refunds."""
    random = np.random.default_rng([seed, day.toordinal()])
    rows = []
    for number in range(users):
        user = f"user.{number}"
        for _ in range(int(random.integers(0, 4))):
            hour = int(random.integers(0, 24 * 60)) - zone * 60
            when = microseconds(day) + hour * 60_000_000
            price = float(random.choice([0.1, 0.2, 19.99, 1e6 + 0.07]))
            params = {
                "ga_session_id": int(day.toordinal() - random.integers(0, 2)),
                "ga_session_number": int(random.integers(1, 9)),
                "engagement_time_msec": int(random.integers(0, 9000)),
            }
            of = {
                "zone": zone,
                "geo": {"country": str(random.choice(["Chile", "Norway", ""]))},
            }
            name = str(random.choice(["page_view", "view_item", "add_to_cart"]))
            rows.append(event(user, when, name, params=params, **of))
            again = {"transaction": f"T{number}.{random.integers(0, 3)}", **of}
            kind = random.integers(0, 5)
            if kind == 0:
                rows.append(paid(user, when, price, "EUR", **again))
            elif kind == 1:
                rows.append(purchase(user, when + 1, price, **again))
            elif kind == 2:
                refund = {"refund_value": price, "transaction_id": "T0.1"}
                rows.append(event(user, when, "refund", ecommerce=refund, **of))
    # Analytics has some events twice in a table.
    return [*rows, *rows[:2]]


@dataclass
class Site:
    """A deployment over an export that changes, and the runs over it."""

    workplace: Workplace
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {
            **self.workplace.environment,
            "PROPENSITY_RETENTION_DAYS": "export_user_days=0",
            **self.extra,
        }
        self.settings = Settings.from_environment(self.environment)
        self.warehouse = Warehouse.open(self.settings)
        for table in (tables.EXPORT_USER_DAYS, tables.SUPPRESSED_USERS):
            self.warehouse.create(table)
        require = self.settings.require_consent
        text = consent.events_view(self.settings.export, require=require)
        self.warehouse.replace_view(consent.VIEW, text)

    def with_settings(self, **extra: str) -> Site:
        return Site(self.workplace, {**self.extra, **extra})

    def run(self, as_of: date = AS_OF, **fields: Any) -> Run:
        """Return a run that begins at six o'clock of its as-of date."""
        return Run(
            **{
                "function": "predictions",
                "run_id": "r",
                "settings": self.settings,
                "use_case": USE_CASE,
                "as_of": as_of,
                "force": False,
                "began_at": BEGAN,
                "warehouse": self.warehouse,
                "registry": SimpleNamespace(),
                **fields,
            }
        )

    def incremental(
        self, as_of: date = AS_OF, **fields: Any
    ) -> tuple[dict[str, str], int | None]:
        """Return features by user, to the last bit, and the days that were read."""
        run = self.run(as_of, **fields)
        rows = [row for batch in user_days.features(run) for row in batch.to_pylist()]
        assert len({row["user_id"] for row in rows}) == len(rows)
        features = {row["user_id"]: repr(row) for row in rows}
        return features, run.log_fields.get("export_days_read")

    def full(self, as_of: date = AS_OF) -> dict[str, str]:
        """Return features by user, computed over the whole export."""
        window = USE_CASE.window(self.settings, [as_of])
        rows = self.warehouse.table(USE_CASE.statement("features"), window).to_pylist()
        return {row["user_id"]: repr(row) for row in rows}

    def load(self, rows: list[Row]) -> None:
        shop.load(self.workplace, rows)

    def stream(self, day: date, rows: list[Row]) -> None:
        """Let a day have a streamed table in the place of a daily one."""
        self.load(rows)
        for sql in (
            "CREATE OR REPLACE TABLE {ga4}.events_intraday_{day} AS "
            "SELECT * FROM {ga4}.events_{day}",
            "DROP TABLE {ga4}.events_{day}",
        ):
            self.export(sql, day=f"{day:%Y%m%d}")

    def export(self, sql: str, **names: str) -> None:
        """Change tables of the export by a statement."""
        with self.workplace.bigquery.client() as client:
            client.query_and_wait(sql.format(ga4=self.workplace.ga4_dataset, **names))

    def rows(self, sql: str) -> list[Any]:
        return self.warehouse.rows(sql)

    def close(self) -> None:
        self.warehouse.close()


@pytest.fixture(scope="module")
def make_site(emulators, bigquery_emulator) -> Iterator[Callable[..., Site]]:
    """Make a deployment over an export with these events; the view needs a table."""
    sites: list[Site] = []

    def make(rows: list[Row], **extra: str) -> Site:
        workplace = new_workplace(emulators, bigquery_emulator)
        shop.load(workplace, rows)
        sites.append(Site(workplace, extra))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def weeks(since: date, until: date, *, step: int, zone: int = 0) -> list[Row]:
    """Return events of every so many days."""
    days = range(0, (until - since).days, step)
    return [row for n in days for row in of_day(since + n * DAY, 1, zone=zone)]


@pytest.fixture(scope="module")
def site(make_site) -> Site:
    """Ten weeks of an export, summed up for the week before."""
    weekly = make_site(weeks(FIRST, AS_OF - WEEK, step=7))
    weekly.incremental(AS_OF - WEEK)
    weekly.load(weeks(AS_OF - WEEK, AS_OF, step=2))
    return weekly


@pytest.fixture(scope="module")
def strict(make_site) -> SimpleNamespace:
    """What a test only reads."""
    return strictly(make_site)


def strictly(make_site: Callable[..., Site]) -> SimpleNamespace:
    """Sum up a day of three users before and after consent was required."""
    yes, no = ({"privacy_info": {"analytics_storage": text}} for text in ("Yes", "No"))
    users = {"gone": yes, "stays": yes, "denies": no}
    rows = [event(user, AS_OF - 3 * DAY, **consent) for user, consent in users.items()]
    first = make_site(rows, PROPENSITY_SUPPRESSION_KEY=KEY)
    before, _ = first.incremental()
    site = first.with_settings(PROPENSITY_REQUIRE_CONSENT="true")
    after, days_read = site.incremental()
    return SimpleNamespace(site=site, before=before, after=after, days_read=days_read)
