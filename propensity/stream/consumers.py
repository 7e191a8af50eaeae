"""
The consumers of the stream: what is done with a message, between edges and pure code.

Each is an asynchronous function that Pub/Sub pushes to. Messages that arrive together
are handled together (``GroupCommit``), and a message is acknowledged once what it led
to is durable. A message that can never succeed is stored with its reason and
acknowledged; whatever may succeed later raises, and Pub/Sub delivers again.

No user and no event is ever logged: lines hold counts.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import json
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from math import inf
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from starlette.requests import Request
from starlette.responses import Response

from propensity import tables, usecases
from propensity.edges.appends import Appends, RowsRefused
from propensity.edges.artifacts import Artifacts
from propensity.edges.asgi import Json, body_of
from propensity.edges.log import log
from propensity.edges.pubsub import Bus
from propensity.edges.warehouse import Warehouse
from propensity.errors import Conflict, PropensityError
from propensity.events import messages, reading
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.reading import Accepted, Rules
from propensity.events.redaction import personal_fields
from propensity.events.types import (
    Catalogue,
    Refused,
    instants_of,
    moment_of,
    numerals_of,
)
from propensity.privacy.suppression import Suppressed, suppressed_now, suppressed_users
from propensity.registry.inference_log import (
    NO_VERSION,
    STREAM,
    Events,
    batch,
    columns,
)
from propensity.registry.serving import Champions, Serving, Standing
from propensity.registry.versions import PARQUET
from propensity.settings import Settings
from propensity.statements import statement
from propensity.usecases import UseCase
from propensity.waiting.groups import GroupCommit
from propensity.waiting.refreshed import Refreshed

# Groups under way at once, and what each may hold: well within what one append and one
# Publish request may be.
WRITERS = 3
GROUP_MESSAGES = 1_000
GROUP_BYTES = 4 * 1024**2

# What may wait in an instance. Beyond, Pub/Sub is asked to come again, and slows down.
WAITING_MESSAGES = 5_000
WAITING_BYTES = 64 * 1024**2

# Queries for features under way at once; each bills 10 MB or more.
SCORING_GROUPS = 2

# Counts of an instance are logged this often: a line an event would cost more than it.
LOG_EVERY_S = 10.0

# New objects after which the garbage collector looks through them.
COLLECT_AFTER = 50_000

Consumed = Refused | None


class Tally:
    """Counts of an instance, logged as one line every so often."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._began = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reasons: Mapping[str, int], **counts: int) -> None:
        """Add to the counts; they are logged within ``LOG_EVERY_S``."""
        self._counts.update(counts)
        self._reasons.update(reasons)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LOG_EVERY_S, self.write)

    def write(self) -> None:
        """Log what was counted since the last line."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        line: dict[str, Any] = {**self._counts}
        if self._reasons:
            line["reasons"] = {**self._reasons}
        severity = "WARNING" if self._reasons else "INFO"
        log(severity, "counts", function=self._function, outcome="ok", **line)
        self._counts.clear()
        self._reasons.clear()


@dataclass(frozen=True)
class Edges:
    """The clients of an instance of a consumer; nothing is sent when they open."""

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    appends: Appends
    bus: Bus
    catalogue: Catalogue
    rules: Rules

    @classmethod
    def open(cls, settings: Settings) -> Edges:
        """Open the clients."""
        return cls(
            settings=settings,
            warehouse=Warehouse.open(settings),
            artifacts=Artifacts.open(settings),
            appends=Appends(settings),
            bus=Bus(settings),
            catalogue=Catalogue([usecases.load(name) for name in usecases.names()]),
            rules=Rules(
                maximum_bytes=settings.maximum_event_bytes,
                clock_skew=timedelta(seconds=settings.maximum_clock_skew_s),
                lateness=timedelta(days=settings.maximum_lateness_days),
                keeps_personal=settings.keep_personal_fields,
            ),
        )


@cache
def spare_the_collector() -> None:
    """
    Keep the garbage collector off what stays; once in a process.

    Hundreds of requests wait at once, with a hundred objects each, beside those of a
    hundred modules. As Python sets it, the collector walks through them again and again
    and takes a quarter of the processor's time. What it is for, cycles, requests leave
    few of.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


class Consumer(ABC):
    """
    What the consumers share: a push in, a group of messages handled, an answer out.

    A subclass says what is done with a group, in ``consume``.
    """

    name = "consumer"
    writers = WRITERS
    stored = b'{"outcome":"stored"}\n'

    def __init__(self, edges: Edges, *, linger_s: float = 0.0) -> None:
        spare_the_collector()
        self.edges = edges
        self.tally = Tally(self.name)
        # The fields that dead letters are stored without.
        self._personal = (
            {}
            if edges.settings.keep_personal_fields
            else personal_fields(edges.catalogue.types)
        )
        self._suppressed = suppressed_users(
            edges.warehouse, function=self.name, clock=time.monotonic
        )
        self._stored = Json(self.stored)
        self._group: GroupCommit[Message, Consumed] = GroupCommit(
            self._commit,
            writers=self.writers,
            items=GROUP_MESSAGES,
            size=GROUP_BYTES,
            waiting=WAITING_MESSAGES,
            waiting_size=WAITING_BYTES,
            linger_s=linger_s,
        )

    async def take(self, request: Request) -> Response:
        """
        Handle a push; it is acknowledged when this returns.

        Raises:
            RequestError, TooLarge: It is no push.
            PropensityError: Its message could not be handled; it is delivered again.
        """
        body = await body_of(request, maximum=messages.MAXIMUM_BODY_BYTES)
        message, size = messages.message(body), len(body)
        del body  # while this waits its event is held once, and not twice
        refused = await self._group.submit(message, size=size)
        if refused is None:
            return self._stored
        told = {
            "outcome": "dead_letter",
            "reason": refused.reason,
            "field": refused.field,
            "message": refused.detail,
        }
        return Json(json.dumps(told).encode())

    async def _commit(self, messages: Sequence[Message]) -> Sequence[Consumed]:
        refused = await self.consume(messages)
        return [refused.get(place) for place in range(len(messages))]

    @abstractmethod
    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """
        Handle a group.

        Returns:
            Why messages were refused, by place. They are dead letters by then.

        Raises:
            PropensityError: None of them counts as handled.
        """

    async def suppressed(self) -> Suppressed:
        """
        Return whom nothing may be kept of.

        Raises:
            PropensityError: It is not known.
        """
        return await suppressed_now(self._suppressed)

    async def unsuppressed(
        self, accepted: Accepted, messages: Sequence[Message]
    ) -> Accepted:
        """Return what came of messages without that of suppressed users, counted."""
        suppressed = await self.suppressed()
        if not suppressed:
            return accepted
        kept, left_out = await asyncio.to_thread(
            reading.unsuppressed, accepted, messages, suppressed
        )
        if left_out:
            self.tally.add({}, suppressed=left_out)
        return kept

    async def bury(
        self, messages: Sequence[Message], refused: Mapping[int, Refused]
    ) -> None:
        """Append what was refused to ``dead_letters``, in pieces that fit."""
        received_at = datetime.now(UTC)
        piece: dict[int, Refused] = {}
        size = 0
        for place, reason in refused.items():
            # Its trace holds frames that hold it, and with them all the messages.
            reason.__traceback__ = None
            message = messages[place]
            length = min(len(message.data), reading.MAXIMUM_RAW_BYTES)
            length += sum(len(k) + len(v) for k, v in message.attributes.items())
            if piece and size + length > reading.MAXIMUM_RAW_BYTES:
                await self._bury(messages, piece, received_at)
                piece, size = {}, 0
            piece[place] = reason
            size += length
        if piece:
            await self._bury(messages, piece, received_at)

    async def _bury(
        self,
        messages: Sequence[Message],
        refused: Mapping[int, Refused],
        received_at: datetime,
    ) -> None:
        rows = reading.dead_letters(
            messages, refused, received_at=received_at, personal=self._personal
        )
        await self.edges.appends.append(tables.DEAD_LETTERS, rows)


class StreamFeatures(Consumer):
    """Events in: validated, enriched, stored, published on; truths in: stored."""

    name = "streamFeatures"

    def __init__(self, edges: Edges) -> None:
        super().__init__(edges)
        self._postcodes: Refreshed[PostcodeIndex] = Refreshed(
            self._read_postcodes,
            ttl_s=edges.settings.postcode_ttl_s,
            grace_s=inf,
            clock=time.monotonic,
            tell=lambda error: log(
                "WARNING", f"postcodes not read: {error}", function=self.name
            ),
        )

    def _read_postcodes(self) -> PostcodeIndex:
        warehouse = self.edges.warehouse.for_run()
        return PostcodeIndex.of(warehouse.table(statement("postcodes")))

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Store a group, bury what is refused, then publish what was stored."""
        edges = self.edges
        accepted = reading.accept(
            messages,
            edges.catalogue,
            await self._postcodes.current(),
            received_at=datetime.now(UTC),
            rules=edges.rules,
        )
        accepted = await self.unsuppressed(accepted, messages)
        refused = dict(accepted.refused)
        told = await self._append(
            tables.TRUTH_EVENTS, accepted.truths, accepted.truth_places, refused
        )
        kept = await self._append(
            tables.STREAM_EVENTS, accepted.rows, accepted.places, refused
        )
        if refused:
            await self.bury(messages, refused)
        rows = accepted.rows
        if len(kept) < rows.num_rows:
            rows = rows.take(pa.array(kept, pa.int64()))
        await edges.bus.publish(
            edges.settings.enriched_topic,
            [accepted.enriched[row] for row in kept],
            attributes_of(rows),
        )
        self.tally.add(
            Counter(one.reason for one in refused.values()),
            rows_in=len(messages),
            rows_out=len(kept),
            truths=len(told),
            dead_letters=len(refused),
            unknown_postcodes=accepted.unknown_postcodes,
            appends=1,
        )
        return refused

    async def _append(
        self,
        table: tables.Table,
        rows: pa.RecordBatch,
        places: Sequence[int],
        refused: dict[int, Refused],
    ) -> list[int]:
        """
        Append rows but for those that the table refuses; return which were.

        Args:
            table: Where to.
            rows: To append.
            places: The message of each.
            refused: Gets what the table refuses.
        """
        kept, left = list(range(rows.num_rows)), rows
        while True:
            try:
                await self.edges.appends.append(table, left)
                return kept
            except RowsRefused as error:
                # One row that no table takes must not hold up all that came with it.
                for row, detail in error.rows.items():
                    place = places[kept[row]]
                    refused[place] = Refused("refused_by_table", detail[:500])
                kept = [row for at, row in enumerate(kept) if at not in error.rows]
                left = rows.take(pa.array(kept, pa.int64()))


def attributes_of(rows: pa.RecordBatch) -> list[dict[str, str]]:
    """Return the attributes under which rows of ``stream_events`` are published."""
    return [
        {"use_case": use_case, "event_id": event_id, "event_type": event_type}
        for use_case, event_id, event_type in zip(
            rows.column("use_case").to_pylist(),
            rows.column("event_id").to_pylist(),
            rows.column("event_type").to_pylist(),
            strict=True,
        )
    ]


class ArchiveEvents(Consumer):
    """Enriched events to Parquet files in the bucket, a folder for every day."""

    name = "archiveEvents"

    def __init__(self, edges: Edges) -> None:
        super().__init__(edges, linger_s=edges.settings.archive_linger_s)

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Write a group as one object for every day that it has events of."""
        accepted = reading.accept(
            messages,
            self.edges.catalogue,
            None,
            received_at=datetime.now(UTC),
            rules=self.edges.rules,
        )
        accepted = await self.unsuppressed(accepted, messages)
        if accepted.refused:
            await self.bury(messages, accepted.refused)
        rows = accepted.rows
        days = pc.unique(rows.column("event_date"))
        # Late events make many days of a group, and each waits for the bucket.
        await asyncio.gather(
            *(asyncio.to_thread(self._write, day, rows) for day in days.to_pylist())
        )
        self.tally.add(
            accepted.reasons,
            rows_in=len(messages),
            rows_out=rows.num_rows,
            objects=len(days),
        )
        return accepted.refused

    def _write(self, day: date, group: pa.RecordBatch) -> None:
        rows = group.filter(pc.equal(group.column("event_date"), pa.scalar(day)))
        # Named for what it holds: the same group, delivered again, is the same object.
        digest = hashlib.sha256()
        keys = zip(
            rows.column("use_case").to_pylist(),
            rows.column("user_id").to_pylist(),
            rows.column("event_id").to_pylist(),
            strict=True,
        )
        for key in sorted(keys):
            digest.update(msgspec.json.encode(key))
        file = io.BytesIO()
        pq.write_table(pa.Table.from_batches([rows]), file)
        name = f"archive/events/date={day}/{digest.hexdigest()[:32]}.parquet"
        try:
            self.edges.artifacts.create(name, file.getvalue(), content_type=PARQUET)
        except Conflict:
            return


class Scored(msgspec.Struct, gc=False):
    """
    What scoring needs of an enriched event, and of the message that brought it.

    ``features`` and ``ingested_at``, where the event has such, are those of an event
    that is scored by its own fields; ``message`` is set once it is known to be one.
    ``ingested_at`` is UNSET where the event does not say it, None where what it says
    makes no sense.
    """

    user_id: str
    event_time: str
    event_id: str
    use_case: str
    features: Any = None
    ingested_at: Any = msgspec.UNSET
    message: Any = None


class _Enriched(msgspec.Struct, gc=False):
    user_id: str
    event_time: str
    event_id: str
    use_case: str


_decode_enriched = msgspec.json.Decoder(_Enriched).decode


class ScoreStream(Consumer):
    """
    Enriched events to scores, by what serves of their use case at that moment.

    All events of a use case in a group are scored by one champion, and by one shadow
    where there is one. Only what the champion says is published.
    """

    name = "scoreStream"
    writers = SCORING_GROUPS
    stored = b'{"outcome":"scored"}\n'

    def __init__(self, edges: Edges) -> None:
        super().__init__(edges)
        settings = edges.settings
        self._threads = ThreadPoolExecutor(SCORING_GROUPS, "score")
        self._scoring = threading.Lock()
        self._champions = Champions(
            edges.artifacts,
            edges.warehouse,
            ttl_s=settings.champion_ttl_s,
            clock=time.monotonic,
            tell=self._told,
        )

    def _told(self, error: PropensityError) -> None:
        # What does not load leaves what was before in its place, and says so.
        log("ERROR", error.message, function=self.name)

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Score a group, the events of each use case together."""
        suppressed = await self.suppressed()
        left_out = 0
        refused: dict[int, Refused] = {}
        asked: dict[str, list[Scored]] = {}
        for place, message in enumerate(messages):
            try:
                event = self._read(message)
            except Refused as error:
                refused[place] = error
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                refused[place] = self.edges.catalogue.explain(message.data, error)
            else:
                if suppressed and suppressed.covers(event.user_id, event.use_case):
                    left_out += 1
                else:
                    asked.setdefault(event.use_case, []).append(event)
        if refused and suppressed:
            told = await asyncio.to_thread(
                reading.unmentioned, refused, messages, suppressed
            )
            left_out += len(refused) - len(told)
            refused = told
        if left_out:
            self.tally.add({}, suppressed=left_out)
        if refused:
            await self.bury(messages, refused)
        loop = asyncio.get_running_loop()
        scored = 0
        for name, events in asked.items():
            rows, counts = await loop.run_in_executor(
                self._threads, self._score, usecases.load(name), events
            )
            self.tally.add({}, **counts)
            if rows is None:
                continue
            await self.edges.appends.append(tables.INFERENCE_LOG, rows)
            payloads, attributes = announced(rows)
            await self.edges.bus.publish(
                self.edges.settings.scores_topic, payloads, attributes
            )
            scored += len(payloads)
        self.tally.add(
            Counter(one.reason for one in refused.values()),
            rows_in=len(messages),
            rows_out=scored,
            groups=1,
        )
        return refused

    def _read(self, message: Message) -> Scored:
        """
        Return what an enriched event says.

        Raises:
            Refused, MsgspecError, ValueError, RecursionError: It is none.
        """
        if message.problem is not None:
            raise message.problem
        read = _decode_enriched(message.data)
        moment_of(read.event_time)
        catalogue = self.edges.catalogue
        if read.use_case not in catalogue.use_cases:
            raise Refused("unknown_use_case", "not deployed", field="use_case")
        event = Scored(
            read.user_id, read.event_time, read.event_id, read.use_case, message=message
        )
        use_case = usecases.load(read.use_case)
        if use_case.scores_events:
            whole = catalogue.read(message.data, message.attributes)
            if whole.type_name in use_case.scored:
                event.features = numerals_of(whole)
                event.ingested_at = _ingested_at(whole)
        return event

    def _score(
        self, use_case: UseCase, events: Sequence[Scored]
    ) -> tuple[pa.RecordBatch | None, dict[str, int]]:
        """Return rows of ``inference_log``, and counts of what was not scored, why."""
        if use_case.scores_events:
            wanted = [event for event in events if event.features is not None]
            counts = {"not_scored_on_the_stream": len(events) - len(wanted)}
            standing = self._champions.standing(use_case)
        elif not use_case.has_statement("stream_rows"):
            return None, {"not_scored_on_the_stream": len(events)}
        else:
            standing = self._champions.standing(use_case)
            if standing.champion is None:
                return None, {"no_champion": len(events)}
            wanted = self._looked_up(use_case, events)
            counts = {"outside_window": len(events) - len(wanted)}
        if not wanted:
            return None, counts
        given = pa.RecordBatch.from_pylist(
            [event.features for event in wanted], schema=_schema(use_case)
        )
        if not use_case.scores_events:
            # As the model was given them, which NUMERIC as a text is not.
            for event, row in zip(wanted, given.to_pylist(), strict=True):
                event.features = row
        serving = [one for one in (standing.champion, standing.shadow) if one]
        parts = []
        for one in serving:
            with self._scoring:
                scores = one.scorer.probabilities(given)
            parts.append(
                inferences(
                    use_case, standing, one, wanted, scores, at=datetime.now(UTC)
                )
            )
        if standing.champion is None:
            counts["no_champion"] = len(wanted)
            nothing = [None] * len(wanted)
            at = datetime.now(UTC)
            parts.append(inferences(use_case, standing, None, wanted, nothing, at=at))
        elif not standing.champion.is_warm:
            counts["not_warm"] = len(wanted)
        return pa.concat_batches(parts), counts

    def _looked_up(self, use_case: UseCase, events: Sequence[Scored]) -> list[Scored]:
        """Return the events that are scored, with their users' features of now."""
        moments = [moment_of(event.event_time) for event in events]
        found = self.edges.warehouse.for_run().lookup(
            use_case.statement("stream_rows"),
            use_case.serving(
                self.edges.settings,
                {event.user_id for event in events},
                first_event_day=min(moments).date(),
            ),
        )[0]
        features = {row["user_id"]: dict(row.items()) for row in found}
        wanted = []
        for event, moment in zip(events, moments, strict=True):
            event.features = features.get(event.user_id)
            # After a use case's last moment of interest an event changes no feature.
            if event.features and moment < event.features["scored_until"]:
                wanted.append(event)
        return wanted


# Whether it lies in the future is asked once there is a score.
_LATEST = datetime.max.replace(tzinfo=UTC)


def _ingested_at(event: Any) -> datetime | None | msgspec.UnsetType:
    """Return when a producer took a decoded event; see ``Scored``."""
    told = [*instants_of(event, latest=_LATEST).values()]
    return next(filter(None, told), None) if told else msgspec.UNSET


def latency_ms(since: datetime | None, at: datetime) -> float | None:
    """Return the milliseconds from a moment to a score, None where it came later."""
    if since is None or since > at:
        return None
    return (at - since) / timedelta(milliseconds=1)


def _schema(use_case: UseCase) -> pa.Schema:
    kinds = {usecases.NUMBER: pa.float64(), usecases.CATEGORY: pa.string()}
    return pa.schema([(name, kinds[kind]) for name, kind in use_case.features.items()])


def inferences(
    use_case: UseCase,
    standing: Standing,
    serving: Serving | None,
    events: Sequence[Scored],
    scores: Iterable[float | None],
    *,
    at: datetime,
) -> pa.RecordBatch:
    """
    Return rows of ``inference_log``.

    Args:
        use_case: Of all events.
        standing: What stood when they were scored.
        serving: What of it scored; None for nothing.
        events: With their features.
        scores: Of each; NaN where there is none.
        at: When they were scored.
    """
    names = list(use_case.features)
    published = reading.published([event.message for event in events]).to_pylist()
    logged = Events(
        source=STREAM,
        event_ids=[event.event_id for event in events],
        user_ids=[event.user_id for event in events],
        times=[moment_of(event.event_time) for event in events],
        features=[
            msgspec.json.encode({name: event.features[name] for name in names}).decode()
            for event in events
        ],
        latencies_ms=[
            latency_ms(
                one if event.ingested_at is msgspec.UNSET else event.ingested_at, at
            )
            for event, one in zip(events, published, strict=True)
        ],
    )
    ids = logged.inference_ids(
        use_case, NO_VERSION if serving is None else serving.version
    )
    return batch(columns(use_case, standing, serving, logged, scores, ids=ids, at=at))


def announced(rows: pa.RecordBatch) -> tuple[list[bytes], list[dict[str, str]]]:
    """
    Return what rows of ``inference_log`` say to others, as messages.

    That is what the champion answered, where it has: no shadow's score, and none where
    nothing serves or a model has not seen enough.

    Returns:
        Payloads, and the attributes of each.
    """
    payloads, attributes = [], []
    names = (
        "use_case",
        "event_id",
        "user_id",
        "event_time",
        "probability",
        "anomaly_score",
        "is_warm",
        "model_version",
        "inference_id",
        "scored_at",
    )
    for row in rows.select([*names, "is_shadow"]).to_pylist():
        is_shadow = row.pop("is_shadow")
        if is_shadow or (row["probability"], row["anomaly_score"]) == (None, None):
            continue
        payloads.append(msgspec.json.encode(row))
        attributes.append({"use_case": row["use_case"], "event_id": row["event_id"]})
    return payloads, attributes
