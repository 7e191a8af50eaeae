"""
What BigQuery has stored or refused, as the messages that it came as.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
from tqdm import tqdm

from offline.replay.messages import Outgoing, Tally, identified
from propensity.events.catalogue import Catalogue
from propensity.events.rows import MAXIMUM_RAW_BYTES
from propensity.events.types import PERSONAL, EventType
from propensity.events.values import CENT

ROWS = 1_000
_encode = msgspec.json.Encoder(decimal_format="number").encode


@contextlib.contextmanager
def spooled(
    batches: Iterator[pa.RecordBatch], *, most: int | None
) -> Iterator[tuple[Iterator[Mapping[str, Any]], int]]:
    """
    Copy rows to a file that goes again, and yield them, and how many there are.

    A replay may take days, and BigQuery keeps a stream open for minutes.
    """
    with tempfile.TemporaryFile(prefix="replay-") as file:
        writer = None
        total = 0
        with tqdm(desc="reading", unit=" rows", disable=None) as bar:
            for batch in batches:
                some = batch if most is None else batch.slice(0, most - total)
                writer = writer or pa.ipc.new_stream(
                    file,
                    batch.schema,
                    options=pa.ipc.IpcWriteOptions(compression="zstd"),
                )
                # In pieces: each is read back as a whole.
                for start in range(0, some.num_rows, ROWS):
                    writer.write_batch(some.slice(start, ROWS))
                total += some.num_rows
                bar.update(some.num_rows)
                if total == most:
                    break
        if writer is not None:
            writer.close()
        file.seek(0)
        yield (_rows(pa.ipc.open_stream(file)) if total else iter(())), total


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()


def stored_events(
    rows: Iterable[Mapping[str, Any]], catalogue: Catalogue, *, topic: str, tally: Tally
) -> Iterator[Outgoing]:
    """
    Yield rows of ``stream_events`` as the events that they were.

    Args:
        tally: Counts events of a type that is no longer accepted.
    """
    for row in rows:
        use_case, event_type = row["use_case"], row["event_type"]
        if (use_case, event_type) not in catalogue.taken:
            tally.left_out[f"{event_type} is not taken by {use_case}"] += 1
            continue
        yield Outgoing(
            data=event_of(row, catalogue.types[event_type]),
            attributes={
                "use_case": use_case,
                "event_id": row["event_id"],
                "event_type": event_type,
            },
            topic=topic,
            place=f" with --from {_text(row['event_time'])}",
        )


def event_of(row: Mapping[str, Any], declared: EventType) -> bytes:
    """
    Return a row of ``stream_events`` as an event that gives the same row again.

    A registration has its age in the place of its personal fields. What
    it was enriched with is there for those who read enriched events.
    """
    further = json.loads(row["attributes"] or "{}")
    event: dict[str, Any] = {
        "event_id": row["event_id"],
        "use_case": row["use_case"],
        "user_id": row["user_id"],
        "event_type": row["event_type"],
        "event_time": _text(row["event_time"]),
    }
    has_birth_date = bool(declared.of_kind("birth date"))
    for name, kind in declared.fields.items():
        if kind == "amount":
            if row["amount"] is not None:
                event[name] = row["amount"].quantize(CENT)
        elif kind == "identity":
            event[name] = row["event_id"]
        elif kind == "instant":
            if name in further:
                event[name] = further[name]
        elif kind not in PERSONAL:
            value = row[name] if name in row else further.get(name)
            # A field that the type did not have yet is left out, and not null.
            if value is not None or kind == "text or null":
                event[name] = value
        elif not has_birth_date:
            event[name] = ""  # nothing else can stand for it
    if has_birth_date and row["age"] is not None:
        event["age"] = row["age"]
    if "postcode" in declared.fields:
        event["socioeconomic_idx"] = row["socioeconomic_idx"]
    return _encode(event)


def refused_messages(
    rows: Iterable[Mapping[str, Any]], *, topic: str, tally: Tally
) -> Iterator[Outgoing]:
    """
    Yield rows of ``dead_letters`` as the messages that they were.

    Args:
        tally: Counts messages of which only the beginning was kept.
    """
    for row in rows:
        data = row["raw"] or b""
        # A shorter one may be whole, too: it is stored without its personal fields.
        if row["raw_size"] is not None and row["raw_size"] > MAXIMUM_RAW_BYTES:
            tally.left_out["only the beginning of so large a message was kept"] += 1
            continue
        attributes = json.loads(row["attributes"] or "{}")
        yield Outgoing(
            data=data,
            attributes=identified(data, attributes, row["message_id"]),
            topic=topic,
            place=f" with --from {_text(row['received_at'])}",
        )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
