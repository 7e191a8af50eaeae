"""
Online scoring without HTTP: numbers to the last bit, batches, and the log's queue.

Models are tiny and real. ``Table`` is what is logged to: it can be held, and made to
fail. What the function does over HTTP is in ``functions/test_score.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity import tables
from propensity.errors import RequestError, SchemaError, Unavailable
from propensity.gcp.log import Counts
from propensity.gcp.writes import RowsRefused
from propensity.online import inference_queue
from propensity.online.inference_queue import InferenceQueue
from propensity.registry.inference_log import ONLINE, Events, Row, columns
from tests.propensity.online.champions import (
    CARD,
    CARDS,
    FIRST,
    LATEST,
    NOW,
    PLAYERS,
    READER,
    STATE,
    read,
)


class TestQuestions:
    @settings(deadline=None)
    @given(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False)
            | st.integers(-(10**30), 10**30),
            min_size=29,
            max_size=29,
        ),
        st.booleans(),
    )
    def test_keep_every_number_to_the_last_bit(self, values, as_texts):
        """What Python writes of a number is read as that number, as a text too."""
        fields = dict(zip(CARDS.features, values, strict=True))
        if as_texts:
            fields = {name: repr(value) for name, value in fields.items()}

        [instance] = read(fields).instances

        assert list(instance.numbers) == [float(value) for value in values]

    @pytest.mark.parametrize("others", ["{}", '{"at": "12:00"}', '{"a": {"b": NaN}}'])
    @pytest.mark.parametrize("moment", ["1", '"2026-03-02T12:00:00Z"', '"\\u003a"'])
    @pytest.mark.parametrize("way", ["flat", "features", "instances"])
    def test_name_each_field_once(self, way, moment, others):
        """Of two values nobody knows which one was meant: neither is scored."""
        pairs = [f'"{name}": {value}' for name, value in CARD.items()]
        pairs += [f'"ingest_ts": {moment}', f'"further": {others}']

        def question_of(pairs):
            text = f"{{{', '.join(pairs)}}}"
            if way == "instances":
                text = f"[{text}, {text}]"
            body = text if way == "flat" else f'{{"{way}": {text}}}'
            return READER.question(body.encode(), latest=LATEST)

        assert question_of(pairs).layout.use_case.name == "card_fraud"
        for name in ("V1", "Amount", "ingest_ts", "further"):
            with pytest.raises(RequestError, match="must be given once") as refused:
                question_of([*pairs, f'"{name}":7'])
            assert refused.value.field == name


class Table:
    """Takes rows of the log, unless it is told to fail."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.appends = 0
        self.log = InferenceQueue(self.append, Counts("score"))

    async def append(self, rows: pa.RecordBatch) -> None:
        self.appends += 1
        assert rows.schema == tables.INFERENCE_LOG.arrow_schema()
        if self.failures:
            raise self.failures.pop(0)
        self.rows += rows.to_pylist()


def scored_rows(ids: Sequence[str]) -> list[Row]:
    """Return rows of the log of players with these identities."""
    events = Events(
        source=ONLINE,
        event_ids=ids,
        user_ids=ids,
        times=[NOW] * len(ids),
        features=["{}"] * len(ids),
        latencies_ms=[1.5] * len(ids),
    )
    values = columns(PLAYERS, STATE, FIRST, events, [0.25] * len(ids), ids=ids, at=NOW)
    return [*zip(*values, strict=True)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    """Pauses that a test need not wait for are short."""
    monkeypatch.setattr(inference_queue, "LINGER_S", 0.001)
    monkeypatch.setattr(inference_queue, "RETRY_S", 0.001)


class TestLog:
    async def test_is_written_in_groups_behind_the_answers(self):
        """Everything once, in few appends."""
        table = Table()
        for place in range(1_200):
            table.log.add(scored_rows([f"e{place}"]))
        assert table.appends == 0
        await table.log.settle()

        assert [row["event_id"] for row in table.rows] == [
            f"e{n}" for n in range(1_200)
        ]
        assert table.appends == 3

    @pytest.mark.parametrize(
        "error", [Unavailable("down"), SchemaError("no"), KeyError("what")]
    )
    async def test_is_written_again_until_it_is_taken(self, error, capsys):
        """Whatever an append fails with, nothing of it is let go. If nobody foresaw it
        the log has the trace, and not the text, which may name a user."""
        table = Table()
        table.failures = [error] * 3
        table.log.add(scored_rows(["a", "b"]))
        await table.log.settle()

        assert [row["event_id"] for row in table.rows] == ["a", "b"]
        assert table.appends == 4
        lines = capsys.readouterr().out
        assert lines.count("not logged yet") == 3
        assert ("in append" in lines) == isinstance(error, KeyError)
        assert "what" not in lines

    @pytest.mark.timeout(20)
    async def test_goes_on_after_an_error_that_nobody_foresaw(self, monkeypatch):
        """Such as a log that cannot be written: the next row takes along what is left,
        and nobody waits for ever."""
        table = Table()

        def broken(*_: object, **fields: object) -> None:
            raise OSError("no space left on device")

        table.failures = [Unavailable("down")]
        with monkeypatch.context() as patched:
            patched.setattr(inference_queue, "log", broken)
            table.log.add(scored_rows(["a", "b"]))
            await table.log.settle()
        assert table.rows == []
        table.log.add(scored_rows(["c"]))
        await table.log.settle()

        assert [row["event_id"] for row in table.rows] == ["a", "b", "c"]

    async def test_goes_without_rows_that_no_table_takes(self, capsys):
        """The others are written; how many were lost is an error in the log."""
        table = Table()
        table.failures = [RowsRefused({1: "too long"})]
        table.log.add(scored_rows(["a", "b", "c"]))
        await table.log.settle()

        assert [row["event_id"] for row in table.rows] == ["a", "c"]
        assert "refuses 1 rows" in capsys.readouterr().out

    async def test_has_room_for_so_much(self, monkeypatch):
        """Beyond, requests are refused until something was written."""
        monkeypatch.setattr(inference_queue, "WAITING_ROWS", 3)
        table = Table()
        table.log.check_room()
        table.log.add(scored_rows(["a", "b", "c"]))
        with pytest.raises(Unavailable):
            table.log.check_room()
        await table.log.settle()
        table.log.check_room()

    async def test_is_held_by_one_answer_at_a_time(self):
        """So many requests, and one of them waits for the log on behalf of all."""
        table = Table()
        table.log.add(scored_rows(["a"]))
        holding = asyncio.create_task(table.log.settle())
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await table.log.settle()
        assert table.rows == []
        await holding
        assert table.rows
