"""
Enriched events to scores, by the version that serves their use case at that moment.

Scores are rows of ``inference_log`` first, and messages of topic ``scores`` then.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from propensity import tables, usecases
from propensity.edges.log import log
from propensity.errors import PropensityError
from propensity.events import reading
from propensity.events.messages import Message
from propensity.events.rows import published
from propensity.events.values import Refused, instants_of, moment_of, numerals_of
from propensity.registry.inference_log import (
    NO_VERSION,
    STREAM,
    Events,
    batch,
    columns,
)
from propensity.registry.loading import Serving
from propensity.registry.serving import Champions, ServingState
from propensity.stream.consumers import Consumer, Edges
from propensity.usecases import UseCase

# Queries for features under way at once; each bills 10 MB or more.
SCORING_GROUPS = 2


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
        self._scoring = threading.Lock()
        self._champions = Champions(
            edges.artifacts,
            edges.warehouse,
            ttl_s=settings.champion_ttl_s,
            clock=edges.clock,
            threads=edges.threads,
            tell=self._log_error,
        )

    def _log_error(self, error: PropensityError) -> None:
        # What does not load leaves what was before in its place, and says so.
        log("ERROR", error.message, function=self.name)

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Score a group, the events of each use case together."""
        suppressed = await self.suppressed()
        left_out = 0
        refused: dict[int, Refused] = {}
        by_use_case: dict[str, list[Scored]] = {}
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
                    by_use_case.setdefault(event.use_case, []).append(event)
        if refused and suppressed:
            kept = await asyncio.to_thread(
                reading.unmentioned, refused, messages, suppressed
            )
            left_out += len(refused) - len(kept)
            refused = kept
        if left_out:
            self.tally.add({}, suppressed=left_out)
        if refused:
            await self.bury(messages, refused)
        loop = asyncio.get_running_loop()
        scored = 0
        for name, events in by_use_case.items():
            rows, counts = await loop.run_in_executor(
                self.edges.threads, self._score, usecases.load(name), events
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
            state = self._champions.state(use_case)
        elif not use_case.has_statement("stream_rows"):
            return None, {"not_scored_on_the_stream": len(events)}
        else:
            state = self._champions.state(use_case)
            if state.champion is None:
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
        serving = [one for one in (state.champion, state.shadow) if one]
        parts = []
        for one in serving:
            with self._scoring:
                scores = one.scorer.probabilities(given)
            parts.append(
                inferences(
                    use_case, state, one, wanted, scores, at=self.edges.clock.now()
                )
            )
        if state.champion is None:
            counts["no_champion"] = len(wanted)
            nothing = [None] * len(wanted)
            at = self.edges.clock.now()
            parts.append(inferences(use_case, state, None, wanted, nothing, at=at))
        elif not state.champion.is_warm:
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
    instants = [*instants_of(event, latest=_LATEST).values()]
    return next(filter(None, instants), None) if instants else msgspec.UNSET


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
    state: ServingState,
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
        state: What stood when they were scored.
        serving: What of it scored; None for nothing.
        events: With their features.
        scores: Of each; NaN where there is none.
        at: When they were scored.
    """
    names = list(use_case.features)
    publications = published([event.message for event in events]).to_pylist()
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
            for event, one in zip(events, publications, strict=True)
        ],
    )
    ids = logged.inference_ids(
        use_case, NO_VERSION if serving is None else serving.version
    )
    return batch(columns(use_case, state, serving, logged, scores, ids=ids, at=at))


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
