"""
Enriched events to scores, by the version that is live for their use case by then.

Scores are appended to ``inference_log`` first, then published to topic ``scores``.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import pyarrow as pa

from propensity import usecases
from propensity.errors import PropensityError, QueryTooExpensive, SchemaError
from propensity.gcp.artifacts import Artifacts
from propensity.models.scoring import each_score
from propensity.registry import serving
from propensity.settings import SCORES
from propensity.streaming.events.messages import MAXIMUM_EVENT_BYTES, published
from propensity.streaming.events.rows import Accepted, Event
from propensity.streaming.events.values import EPOCH, MICROSECOND, BadEvent
from propensity.streaming.features.consumer import Clients, Consumer, Handled
from propensity.streaming.features.user_features import (
    UserFeatures,
    users_on_the_stream,
)
from propensity.streaming.scores import inference_log
from propensity.tables.stream import INFERENCE_LOG, Inference
from propensity.usecases import Features, UseCase

# Queries for features under way at once; each bills 10 MB or more.
SCORING_GROUPS = 2

_ATTRIBUTES = ("use_case", "event_id")
_IN_MESSAGES = (
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

# An event and the features that it is scored by.
WithFeatures = tuple[Event, Features]


class ScoreStream(Consumer):
    """
    The consumer ``scoreStream``.

    All events of a use case in a group are scored by one champion. A use case that
    cannot be scored holds up no other one.
    """

    name = "scoreStream"
    # An event that was just small enough has grown by what was added.
    maximum_bytes = 2 * MAXIMUM_EVENT_BYTES
    writers = SCORING_GROUPS
    outcome = "scored"

    def __init__(self, clients: Clients, artifacts: Artifacts) -> None:
        super().__init__(clients)
        self._scoring = threading.Lock()
        self.champions = serving.Champions(
            artifacts, clients.warehouse, clock=clients.clock, function=self.name
        )

    async def handle(self, accepted: Accepted) -> Handled:
        """Score a group, the events of each use case together."""
        by_use_case: dict[str, list[Event]] = defaultdict(list)
        for event in accepted.events:
            by_use_case[event.use_case].append(event)
        counts = Counter(rows_out=0, groups=1)
        refused = dict[int, BadEvent]()
        to_redeliver = dict[int, PropensityError]()
        for name, events in by_use_case.items():
            try:
                handled = await self._store(usecases.load(name), events)
            except PropensityError as error:
                to_redeliver |= dict.fromkeys([event.index for event in events], error)
            else:
                counts.update(handled.counts)
                refused |= handled.refused
        return Handled(counts, refused, to_redeliver)

    async def _store(self, use_case: UseCase, events: Sequence[Event]) -> Handled:
        """Score events of a use case, append the scores and publish them."""
        if not (use_case.scores_events or use_case.has_statement("stream_rows")):
            return Handled({"not_scored_on_the_stream": len(events)}, {})
        state = await self.champions.state(use_case)
        rows, scored = await asyncio.to_thread(self._score, use_case, events, state)
        if not rows:
            return scored
        refused = await self.append(
            INFERENCE_LOG, inference_log.batch_of(list(rows.values())), list(rows)
        )
        scores = []
        for index, row in rows.items():
            is_scored = (row.probability, row.anomaly_score) != (None, None)
            if is_scored and index not in refused:
                message = {name: getattr(row, name) for name in _IN_MESSAGES}
                attributes = {name: message[name] for name in _ATTRIBUTES}
                scores.append((msgspec.json.encode(message), attributes))
        topic = self.clients.settings.prefixed(SCORES)
        await self.clients.bus.publish(topic, scores)
        counts = {**scored.counts, "rows_out": len(scores)}
        return Handled(counts, {**scored.refused, **refused})

    def _score(
        self, use_case: UseCase, events: Sequence[Event], state: serving.ServingState
    ) -> tuple[dict[int, Inference], Handled]:
        """
        Return rows of ``inference_log`` by the place of their event; and counts of
        unscored events by reason, with those that the model refuses.
        """
        champion = state.champion
        if use_case.scores_events:
            # These events have their features in their own fields.
            to_score = [
                (event, json.loads(event.values["attributes"]))
                for event in events
                if event.event_type in use_case.stream.scored
            ]
            counts = {"not_scored_on_the_stream": len(events) - len(to_score)}
        elif champion is None:
            return {}, Handled({"no_champion": len(events)}, {})
        else:
            to_score, counts = self._with_user_features(use_case, events)
        scores: Sequence[float | SchemaError | None] = [None] * len(to_score)
        if champion is None:
            counts["no_champion"] = len(to_score)
        elif to_score:
            features = pa.RecordBatch.from_pylist(
                [values for _, values in to_score], use_case.feature_schema()
            )
            with self._scoring:
                scores = list(each_score(champion.scorer, features))
            if not champion.is_warm:
                counts["not_warm"] = len(to_score)
        at = self.clients.clock.now()
        rows = dict[int, Inference]()
        refused = dict[int, BadEvent]()
        times = published([event.message for event, _ in to_score]).to_pylist()
        for (event, values), score, time in zip(to_score, scores, times, strict=True):
            if isinstance(score, SchemaError):
                refused[event.index] = BadEvent(
                    "refused_by_model", score.message, field=score.field
                )
                continue
            scored = inference_log.Scored(
                event_id=event.event_id,
                user_id=event.user_id,
                time=_time(event),
                features=values,
                latency_ms=inference_log.latency_ms(self._taken_at(event, time), at),
            )
            rows[event.index] = inference_log.row_of(
                use_case, state, scored, score, source=inference_log.STREAM, at=at
            )
        return rows, Handled(counts, refused)

    def _with_user_features(
        self, use_case: UseCase, events: Sequence[Event]
    ) -> tuple[list[WithFeatures], dict[str, int]]:
        """
        Return the events to score, with the features of their users as of now, and
        counts of the others by reason.

        A query reads all days since its oldest event, so events that are too late are
        not scored; nor are those of the oldest days, where the query may not read them.
        """
        delay = timedelta(days=self.clients.settings.maximum_score_delay_days)
        oldest = self.clients.clock.now() - delay
        in_time = [event for event in events if _time(event) >= oldest]
        features: Mapping[str, UserFeatures] | None = None
        while in_time and features is None:
            first = min(map(_time, in_time)).date()
            try:
                features = users_on_the_stream(
                    self.clients.warehouse,
                    use_case,
                    {event.user_id for event in in_time},
                    first_event_day=first,
                )
            except QueryTooExpensive:
                in_time = [event for event in in_time if _time(event).date() > first]
                if not in_time:
                    raise
        counts = {"too_late": len(events) - len(in_time)}
        if features is None:
            return [], counts
        to_score: list[WithFeatures] = []
        for event in in_time:
            user_features = features.get(event.user_id)
            if user_features is None:
                continue
            values = user_features.at(_time(event))
            if values is not None:
                to_score.append((event, values))
        return to_score, {**counts, "outside_window": len(in_time) - len(to_score)}

    def _taken_at(self, event: Event, published_at: datetime | None) -> datetime | None:
        """Return since when the latency of a score counts; None where it is unknown."""
        attributes = json.loads(event.values.get("attributes", "{}"))
        for name in self.clients.catalogue.types[event.event_type].of_kinds("instant"):
            if name in attributes:
                text = attributes[name]
                return None if text is None else datetime.fromisoformat(text)
        return published_at


def _time(event: Event) -> datetime:
    return EPOCH + event.time_us * MICROSECOND
