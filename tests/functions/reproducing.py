"""Publications and events that are computed again, as they were and altered."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from commands.cli import main
from offline import promote
from offline.reproduce import Audit, Reproduction
from propensity import usecases
from propensity.registry import feature_sets
from tests.functions.conftest import LATER, Place, entered
from tests.offline.forgotten import users_in
from tests.shop import Row, load

USE_CASE = usecases.load("ga4_purchase")
USERS = 160
# One of so many is computed again where not all have to be.
SOME = 12


def altered(rows: list[Row]) -> list[Row]:
    """An export that was rewritten: events are gone, others have other values."""
    events = []
    for number, row in enumerate(rows):
        if number % 3 == 0:
            continue
        event = dict(row, event_timestamp=row["event_timestamp"] - 3_600_000_000)
        event["device"] = {"category": "tablet", "operating_system": "rewritten"}
        events.append(event)
    return events


def history(place: Place, as_of: date = LATER) -> dict[str, dict[str, Any]]:
    """The publication, by user."""
    rows = place.rows(
        "SELECT * FROM ma_predictions_history WHERE as_of = @day", day=as_of
    )
    return {row["user_id"]: row for row in rows}


def reproduced(place: Place, *users: str, as_of: date = LATER) -> list[Reproduction]:
    """Probabilities that are computed again, as the command does it."""
    with entered(place.environment), promote.opened("ga4_purchase") as deployment:
        audit = Audit(deployment)
        return [audit.reproduce(user, as_of) for user in users]


def printed(place: Place, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code and output of the command."""
    capsys.readouterr()
    with entered(place.environment):
        code = main(["reproduce", *arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture(scope="module")
def published(new_export, shop_rows, make_place, with_champion) -> Place:
    """A publication in five parts, whose export was rewritten afterwards."""
    export = new_export(shop_rows)
    place = with_champion(make_place(export.ga4_dataset))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_sets, "PART_ROWS", 37)
        place.run("predictions", LATER)
    load(export, altered(shop_rows))
    return place


@pytest.fixture(scope="module")
def before(new_place) -> dict[str, dict[str, Any]]:
    """Features of the export as it was, by user."""
    return features_of(new_place())


def features_of(place: Place) -> dict[str, dict[str, Any]]:
    table = place.warehouse.table(
        USE_CASE.statement("features"), USE_CASE.window(place.settings, [LATER])
    )
    return {row["user_id"]: row for row in table.to_pylist()}


@pytest.fixture
def own(champion_place) -> Place:
    """A publication for one test alone."""
    champion_place.run("predictions", LATER)
    return champion_place


def kept_users(place: Place) -> set[str | None]:
    """The users whose features there are, None for one who was forgotten."""
    artifacts = place.registry.artifacts
    return {
        user
        for name in artifacts.names("features/")
        if name.endswith(".parquet")
        for user in users_in(artifacts.read(name).data)
    }
