"""
Enriched events to scores, by the version that serves their use case at that moment.

Scores are appended to ``inference_log`` first, then published to topic ``scores``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa

from propensity import tables, usecases
from propensity.errors import PropensityError
from propensity.events.columns import published
from propensity.events.dead_letters import unmentioned
from propensity.events.messages import Message
from propensity.events.values import (
    EARLIEST,
    Refused,
    instants_of,
    moment_of,
    numerals_of,
)
from propensity.privacy.suppression import suppressed_now
from propensity.registry.inference_log import (
    NO_VERSION,
    STREAM,
    Events,
    batch,
    columns,
    latency_ms,
)
from propensity.registry.loading import Serving
from propensity.registry.serving import Champions, ServingState
from propensity.stream.consumers import Clients, Consumer, Unhandled
from propensity.topics import SCORES, topic_name
from propensity.usecases import UseCase
from propensity.waiting.threads import in_thread

# Queries for features under way at once; each bills 10 MB or more.
SCORING_GROUPS = 2


class _Enriched(msgspec.Struct, gc=False):
    user_id: str
    event_time: str
    event_id: str
    use_case: str


class ScoredEvent(_Enriched, gc=False):
    """
    The fields of an enriched event that scoring needs, and its message.

    Attributes:
        features: By name; an event's own, or those of its user.
        ingested_at: ``ingest_ts`` of an event that is scored by its own fields; UNSET
            without one, None if it makes no sense.
        message: Of Pub/Sub.
    """

    features: Any = None
    ingested_at: Any = msgspec.UNSET
    message: Any = None


_decode_enriched = msgspec.json.Decoder(_Enriched).decode


class ScoreStream(Consumer):
    """
    The consumer ``scoreStream``.

    All events of a use case in a group are scored by one champion. A use case that
    cannot be scored holds up no other one.
    """

    name = "scoreStream"
    writers = SCORING_GROUPS
    stored = b'{"outcome":"scored"}\n'

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients)
        self._scoring = threading.Lock()
        self._champions = Champions(
            clients.artifacts,
            clients.warehouse,
            clock=clients.clock,
            function=self.name,
        )

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Unhandled]:
        """Score a group, the events of each use case together."""
        suppressed = await suppressed_now(self.suppressed)
        counts: Counter[str] = Counter(rows_out=0, groups=1)
        refused: dict[int, Refused] = {}
        by_use_case: dict[str, dict[int, ScoredEvent]] = {}
        for place, message in enumerate(messages):
            try:
                event = self._read(message)
            except Refused as error:
                refused[place] = error
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                refused[place] = self.clients.catalogue.explain(message.data, error)
            else:
                if suppressed and suppressed.covers(event.user_id, event.use_case):
                    counts["suppressed"] += 1
                else:
                    by_use_case.setdefault(event.use_case, {})[place] = event
        if refused and suppressed:
            remaining = await asyncio.to_thread(
                unmentioned, refused, messages, suppressed
            )
            counts["suppressed"] += len(refused) - len(remaining)
            refused = remaining
        if refused:
            await self.dead_letter(messages, refused)
        failed: dict[int, PropensityError] = {}
        for name, events in by_use_case.items():
            try:
                use_case = usecases.load(name)
                counts.update(await self._store(use_case, [*events.values()]))
            except PropensityError as error:
                failed |= dict.fromkeys(events, error)
        if len(failed) < len(messages):
            self.counts.add(
                Counter(refusal.reason for refusal in refused.values()),
                rows_in=len(messages) - len(failed),
                **counts,
            )
        return {**refused, **failed}

    async def _store(
        self, use_case: UseCase, events: Sequence[ScoredEvent]
    ) -> Mapping[str, int]:
        """
        Score events of a use case, append the scores and publish them; return counts.

        Raises:
            PropensityError: Something failed; the events are to be delivered again.
        """
        if not (use_case.scores_events or use_case.has_statement("stream_rows")):
            return {"not_scored_on_the_stream": len(events)}
        state = await self._champions.state(use_case)
        rows, counts = await in_thread(
            self.clients.threads, self._score, use_case, events, state
        )
        if rows is None:
            return counts
        await self.clients.appends.append(tables.INFERENCE_LOG, rows)
        payloads, attributes = score_messages(rows)
        await self.clients.bus.publish(
            topic_name(self.clients.settings, SCORES), payloads, attributes
        )
        return {**counts, "rows_out": len(payloads)}

    def _read(self, message: Message) -> ScoredEvent:
        """
        Return the enriched event in a message.

        Raises:
            Refused, MsgspecError, ValueError, RecursionError: There is none.
        """
        if message.problem is not None:
            raise message.problem
        enriched = _decode_enriched(message.data)
        if moment_of(enriched.event_time) < EARLIEST:
            # BigQuery cannot count days back from the first year.
            raise Refused("bad_time", f"before {EARLIEST:%Y}", field="event_time")
        catalogue = self.clients.catalogue
        if enriched.use_case not in catalogue.use_cases:
            raise Refused("unknown_use_case", "not deployed", field="use_case")
        event = ScoredEvent(
            enriched.user_id,
            enriched.event_time,
            enriched.event_id,
            enriched.use_case,
            message=message,
        )
        use_case = usecases.load(enriched.use_case)
        if use_case.scores_events:
            whole = catalogue.read(message.data, message.attributes)
            if whole.declared.name in use_case.scored:
                event.features = numerals_of(whole)
                event.ingested_at = _ingested_at(whole)
        return event

    def _score(
        self, use_case: UseCase, events: Sequence[ScoredEvent], state: ServingState
    ) -> tuple[pa.RecordBatch | None, dict[str, int]]:
        """Return rows of ``inference_log``, and counts of unscored events by reason."""
        if use_case.scores_events:
            to_score = [event for event in events if event.features is not None]
            counts = {"not_scored_on_the_stream": len(events) - len(to_score)}
        elif state.champion is None:
            return None, {"no_champion": len(events)}
        else:
            to_score, counts = self._with_user_features(use_case, events)
        if not to_score:
            return None, counts
        features = pa.RecordBatch.from_pylist(
            [event.features for event in to_score], schema=_schema(use_case)
        )
        if not use_case.scores_events:
            # The log has the model's floats, not BigQuery's NUMERIC as texts.
            for event, row in zip(to_score, features.to_pylist(), strict=True):
                event.features = row
        champion = state.champion
        scores: Iterable[float | None] = [None] * len(to_score)
        if champion is None:
            counts["no_champion"] = len(to_score)
        else:
            with self._scoring:
                scores = champion.scorer.probabilities(features)
            if not champion.is_warm:
                counts["not_warm"] = len(to_score)
        at = self.clients.clock.now()
        return inferences(use_case, state, champion, to_score, scores, at=at), counts

    def _with_user_features(
        self, use_case: UseCase, events: Sequence[ScoredEvent]
    ) -> tuple[list[ScoredEvent], dict[str, int]]:
        """
        Return the events to score, with the features of their users as of now, and
        counts of the others by reason.

        A query reads all days since its oldest event, so events that are too late are
        not scored.
        """
        oldest = self.clients.clock.now() - self.clients.rules.lateness
        moments = [(event, moment_of(event.event_time)) for event in events]
        in_time = [one for one in moments if one[1] >= oldest]
        to_score = self._in_window(use_case, in_time)
        return to_score, {
            "outside_window": len(in_time) - len(to_score),
            "too_late": len(events) - len(in_time),
        }

    def _in_window(
        self, use_case: UseCase, events: Sequence[tuple[ScoredEvent, datetime]]
    ) -> list[ScoredEvent]:
        """
        Return those of some events whose users are scored, with their features.

        Each event is given with its time.
        """
        if not events:
            return []
        rows = self.clients.warehouse.for_run().lookup(
            use_case.statement("stream_rows"),
            use_case.serving(
                self.clients.settings,
                {event.user_id for event, _ in events},
                first_event_day=min(moment for _, moment in events).date(),
            ),
        )[0]
        features = {row["user_id"]: _with_floats(use_case, row) for row in rows}
        in_window = []
        for event, moment in events:
            event.features = features.get(event.user_id)
            # From this moment on the use case does not score the user; null is never.
            until = event.features["scored_until"] if event.features else None
            if until is not None and moment < until:
                in_window.append(event)
        return in_window


# No bound here: ``latency_ms`` checks for the future, once there is a score.
_LATEST = datetime.max.replace(tzinfo=UTC)


def _ingested_at(event: Any) -> datetime | None | msgspec.UnsetType:
    """Return the ``ingested_at`` of a decoded event; see ``ScoredEvent``."""
    instants = [*instants_of(event, latest=_LATEST).values()]
    return next(filter(None, instants), None) if instants else msgspec.UNSET


def _with_floats(use_case: UseCase, row: Any) -> dict[str, Any]:
    """Return a row of BigQuery, numbers as floats: Arrow does not round a large one."""
    values = dict(row.items())
    for name, kind in use_case.features.items():
        if kind == usecases.NUMBER and values.get(name) is not None:
            values[name] = float(values[name])
    return values


def _schema(use_case: UseCase) -> pa.Schema:
    kinds = {usecases.NUMBER: pa.float64(), usecases.CATEGORY: pa.string()}
    return pa.schema([(name, kinds[kind]) for name, kind in use_case.features.items()])


def inferences(
    use_case: UseCase,
    state: ServingState,
    serving: Serving | None,
    events: Sequence[ScoredEvent],
    scores: Iterable[float | None],
    *,
    at: datetime,
) -> pa.RecordBatch:
    """
    Return rows of ``inference_log``.

    Args:
        use_case: Of all events.
        state: The versions that served at the time.
        serving: The version that scored; None without one.
        events: With their features.
        scores: Of each; NaN for no score.
        at: Time of scoring.
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
                published_at
                if event.ingested_at is msgspec.UNSET
                else event.ingested_at,
                at,
            )
            for event, published_at in zip(events, publications, strict=True)
        ],
    )
    ids = logged.inference_ids(
        use_case, NO_VERSION if serving is None else serving.version
    )
    return batch(columns(use_case, state, serving, logged, scores, ids=ids, at=at))


def score_messages(rows: pa.RecordBatch) -> tuple[list[bytes], list[dict[str, str]]]:
    """
    Return the messages for topic ``scores``; rows without a score are left out.

    Returns:
        Payloads, and the attributes of each.
    """
    payloads, attributes = [], []
    names = (
        *("use_case", "event_id", "user_id", "event_time", "probability"),
        *("anomaly_score", "is_warm", "model_version", "inference_id", "scored_at"),
    )
    for row in rows.select(names).to_pylist():
        if (row["probability"], row["anomaly_score"]) == (None, None):
            continue
        payloads.append(msgspec.json.encode(row))
        attributes.append({"use_case": row["use_case"], "event_id": row["event_id"]})
    return payloads, attributes
