"""
Two use cases of the same events and the same players: each gives what it gives alone.

Keys, joins and windows over the stream have a use case in them; with one use case no
test would see that one is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from offline import forget
from propensity import folders, usecases
from propensity.gcp.warehouse import Warehouse
from propensity.tables.stream import STREAM_EVENTS, SUPPRESSED_USERS
from tests.functions.streaming import compact_at, prepare_view
from tests.support import own_use_cases
from tests.support.deployment import KEY
from tests.usecases.first_day_churn.conftest import (
    GAMES,
    LATER,
    MIDNIGHT,
    USE_CASE,
    WEEKS,
    Stream,
    accepted,
    opened,
)

FIRST = USE_CASE.name
SECOND = "second_churn"
STATEMENTS = ("features", "labels", "known_labels", "training_rows", "days")
# Open for ever: no export is of interest here.
OLDEST = datetime(1971, 1, 1, tzinfo=UTC).date()


def stored(*names: str) -> Stream:
    """Return a stream as use cases have it: compacted, and with events after that."""
    site = opened()
    site.extra = {**site.extra, "PROPENSITY_SUPPRESSION_KEY": KEY}
    site.warehouse = Warehouse.open(site.settings)
    site.prepare()
    prepare_view(site.warehouse)
    events = list(GAMES.events())
    hour = timedelta(hours=1)
    # The first half, a third of them again, and then the rest; some come late.
    parts = (events[::2], events[::3], events[1::2])
    for number, part in enumerate(parts):
        received_at = MIDNIGHT + number * 24 * hour
        rows = pa.Table.from_batches([accepted(part, received_at=received_at)])
        place = rows.schema.get_field_index("use_case")
        for name in names:
            column = pa.array([name] * len(rows), rows.schema.field(place).type)
            field = rows.schema.field(place)
            site.warehouse.write(STREAM_EVENTS, rows.set_column(place, field, column))
        if number < 2:
            compact_at(site, received_at + 12 * hour, as_of=OLDEST)
    return site


def given(site: Stream, use_case_name: str) -> dict[str, list[str]]:
    """Return what statements, view and tiles say of a use case."""
    use_case = usecases.load(use_case_name)
    window = use_case.window(site.settings, WEEKS, today=LATER)
    said = {}
    for statement in STATEMENTS:
        # So few that they are a sample.
        rows = site.rows(use_case.statement(statement), **window, maximum_rows=40)
        said[statement] = rows
    for table in ("stream_features", "stream_features_daily", "stream_events"):
        sql = f"SELECT * FROM {table} WHERE use_case = @use_case"
        said[table] = site.rows(sql, use_case=use_case_name)
    answer = {}
    for what, rows in said.items():
        for row in rows:
            for name in ("use_case", "compacted_at", "message_id"):
                row.pop(name, None)
        answer[what] = sorted(map(str, rows))
    return answer


@pytest.fixture
def second(tmp_path) -> Iterator[None]:
    """A copy of the use case by another name."""
    with own_use_cases.in_folder(tmp_path / "own") as own:
        shutil.copytree(folders.place(FIRST), own / SECOND)
        yield


@pytest.mark.usefixtures("second")
def test_two_use_cases_of_the_same_events_each_give_what_they_give_alone():
    alone = given(stored(FIRST), FIRST)
    site = stored(FIRST, SECOND)

    assert all(alone.values())
    assert given(site, FIRST) == alone
    assert given(site, SECOND) == alone

    user = site.rows("SELECT MAX(user_id) AS user FROM stream_events")[0]["user"]
    report = forget.run(site.settings, [user], use_case=SECOND)
    assert report["left"] == 0
    assert given(site, FIRST) == alone
    assert user not in str(given(site, SECOND))
    assert site.count(SUPPRESSED_USERS.name) == 1
