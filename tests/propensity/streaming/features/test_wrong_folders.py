"""A folder of a use case that is wrong, specified: it stops nothing but itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity import folders
from propensity.errors import UseCaseError
from propensity.settings import Settings
from propensity.streaming.features.consumer import Clients, StreamFeatures
from tests.propensity.streaming.features.consumers import Tables
from tests.support import own_use_cases
from tests.support.clocks import ManualClock
from tests.support.events import NOW, bet, message, registration, transaction

NEW = "second_churn"
SETTINGS = Settings(
    project="p",
    bucket="bucket",
    bigquery_endpoint="http://127.0.0.1:9",
    storage_endpoint="http://127.0.0.1:9",
    pubsub_endpoint="127.0.0.1:9",
)
TOML = "usecase.toml"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of first_day_churn under another name."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with own_use_cases.in_folder(tmp_path / "usecases") as own:
        yield shutil.copytree(folders.place("first_day_churn"), own / NEW)


@pytest.fixture
def wrong(folder) -> Path:
    """The copy, which declares a type that is declared already."""
    text = (folder / TOML).read_text()
    declared = "[events.new_bet]\nbet_amount = 'amount'\n\n[features]"
    (folder / TOML).write_text(text.replace("[features]", declared, 1))
    return folder


def consumer() -> tuple[StreamFeatures, Tables]:
    """The consumer as it opens in this deployment, before tables that take all."""
    clients = Clients.open(SETTINGS, ManualClock(NOW))
    tables = Tables()
    postcodes = pa.table({"postcode": [""], "socioeconomic_idx": [0.0]})[:0]
    warehouse = SimpleNamespace(
        settings=SETTINGS, table=lambda _: postcodes, read_small_table=lambda *_: []
    )
    fakes: Any = {"appends": tables, "bus": tables, "warehouse": warehouse}
    return StreamFeatures(Clients(**{**vars(clients), **fakes})), tables


async def test_a_wrong_folder_does_not_stop_the_stream(wrong, capsys):
    """The log names it. Its events, and those that nobody takes, are delivered again
    until it is right; all others are stored. An event that names no use case is stored
    for those that are right, and delivered again for the wrong one, whose sums would be
    too low ever after."""
    stream, tables = consumer()
    line = json.loads(capsys.readouterr().err)
    assert (line["severity"], line["outcome"]) == ("ERROR", "use_case")
    assert NEW in line["message"]

    sent = [
        registration(),
        bet(use_case=...),
        transaction(),
        bet(use_case=NEW),
        bet(event_type="deposit", use_case=...),
        bet(bet_amount=-1),
    ]
    group = [message(event, str(index)) for index, event in enumerate(sent)]
    unhandled = await stream.consume(group)

    for index in (1, 3, 4):
        error = unhandled[index]
        assert isinstance(error, UseCaseError)
        assert error.status >= 500
        assert NEW in error.message
    assert [row["message_id"] for row in tables.of["dead_letters"]] == ["5"]
    stored = [row["message_id"] for row in tables.of["stream_events"]]
    assert stored == ["0", "1", "2"]
    assert [unhandled[index] for index in (0, 2)] == [None, None]
