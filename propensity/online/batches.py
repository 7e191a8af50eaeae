"""
Scores of instances that wait at the same time, by one call of the model.

Belongs to one event loop. No user and no feature is ever in a line of the log.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from propensity.clock import Clock
from propensity.edges.counts import Counts
from propensity.errors import RequestError
from propensity.online.instances import Instance, Layout
from propensity.registry.loading import Serving
from propensity.registry.serving import ServingState
from propensity.waiting.groups import GroupCommit
from propensity.waiting.threads import in_thread

# Instances scored by one call, unless a single request has more.
GROUP_INSTANCES = 256
# A larger group is scored in a thread, so that it does not hold up other requests.
# A smaller one is not: scikit-learn needs the interpreter back again and again, and in
# a thread it waits for the event loop each time.
THREAD_INSTANCES = 128


class Scores(msgspec.Struct, frozen=True):
    """
    Scores of a question, all by one version.

    Attributes:
        state: Its champion scored.
        values: The score of each instance; NaN while the champion is not warm.
        at: Time of scoring, in UTC.
    """

    state: ServingState
    values: Sequence[float]
    at: datetime


# The scores of each question of a group, or why it has none.
Results = list[Scores | Exception]


class _Waiting(NamedTuple):
    """Instances that wait for their scores."""

    layout: Layout
    state: ServingState
    instances: Sequence[Instance]
    prefixes: Sequence[str]


class MicroBatches:
    """
    Scores the questions that wait at the same time, by one call for each version.

    A group starts as soon as it is as large as the last one was, or when its first
    question has waited ``linger_s``. So a lone question does not wait, and questions
    of many callers share a call.
    """

    def __init__(
        self, counts: Counts, *, clock: Clock, linger_s: float, threads: Executor
    ) -> None:
        """
        Args:
            counts: Of groups.
            clock: Tells the time of scoring.
            linger_s: How long the first question of a group waits for others.
            threads: Score large groups. Others than those of the event loop: all of
                these may wait for services, and no service is needed to score.
        """
        self._counts = counts
        self._clock = clock
        self._threads = threads
        self._groups: GroupCommit[_Waiting, Scores | Exception] = GroupCommit(
            self._scores,
            writers=1,
            size=GROUP_INSTANCES,
            linger_s=linger_s,
            is_steady=True,
        )

    async def score(
        self,
        layout: Layout,
        state: ServingState,
        instances: Sequence[Instance],
        prefixes: Sequence[str],
    ) -> Scores:
        """
        Return the scores of instances by the versions that serve.

        Args:
            layout: Of their use case.
            state: With a champion.
            instances: At least one.
            prefixes: Each instance's prefix of field names, for errors.

        Raises:
            RequestError: The model cannot score one of them.
        """
        waiting = _Waiting(layout, state, instances, prefixes)
        result = await self._groups.submit(waiting, size=len(instances))
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                # Else a cycle with the traceback, which would keep the request.
                del result
        return result

    def _scores(
        self, group: Sequence[_Waiting]
    ) -> Results | Coroutine[Any, Any, Results]:
        self._counts.add(groups=1)
        if sum([len(waiting.instances) for waiting in group]) <= THREAD_INSTANCES:
            return _scores_of(group, self._clock)
        return self._scores_of_large(group)

    async def _scores_of_large(self, group: Sequence[_Waiting]) -> Results:
        return await in_thread(self._threads, _scores_of, group, self._clock)


def _scores_of(group: Sequence[_Waiting], clock: Clock) -> Results:
    """Score a group by one call for each version; return results in its order."""
    parts: dict[int, list[int]] = {}
    for place, waiting in enumerate(group):
        parts.setdefault(id(waiting.state.champion), []).append(place)
    results: list[Any] = [None] * len(group)
    for places in parts.values():
        part = [group[place] for place in places]
        try:
            scored = _scores_of_version(part, clock)
        except Exception as error:  # every waiting request must get an answer
            scored = [error for _ in part]
        for place, result in zip(places, scored, strict=True):
            results[place] = result
    return results


def _scores_of_version(group: Sequence[_Waiting], clock: Clock) -> Results:
    layout, state = group[0].layout, group[0].state
    champion = state.champion
    assert champion is not None
    instances = [instance for waiting in group for instance in waiting.instances]
    try:
        if any(instance.nulls for instance in instances):
            for waiting in group:
                _refuse_nulls(waiting, champion)
        values = champion.scorer.probabilities(layout.rows(instances)).tolist()
    except (RequestError, ValueError) as error:
        # A bad question must not fail the others: score each alone.
        if len(group) > 1:
            return [_scores_of_version([waiting], clock)[0] for waiting in group]
        if isinstance(error, RequestError) or len(instances) > 1:
            return [_culprit(group[0], error, clock)]
        return [_out_of_range(group[0])]
    at = clock.now()
    results: Results = []
    start = 0
    for waiting in group:
        stop = start + len(waiting.instances)
        results.append(Scores(waiting.state, values[start:stop], at))
        start = stop
    return results


def _refuse_nulls(waiting: _Waiting, serving: Serving) -> None:
    """
    Refuse a null in a feature that had no gaps in training.

    Raises:
        RequestError: There is one.
    """
    unfilled = serving.scorer.unfilled
    for instance, prefix in zip(waiting.instances, waiting.prefixes, strict=True):
        for name in instance.nulls:
            if name in unfilled:
                raise RequestError(
                    f"{prefix}{name} may not be null: version {serving.version} has "
                    "nothing to put in its place",
                    field=prefix + name,
                )


def _culprit(waiting: _Waiting, error: Exception, clock: Clock) -> Exception:
    """Return the error of the first instance that the model cannot score."""
    if isinstance(error, RequestError):
        # Its traceback has frames that hold the results, and so the error: a cycle.
        return error.with_traceback(None)
    for instance, prefix in zip(waiting.instances, waiting.prefixes, strict=True):
        alone = waiting._replace(instances=(instance,), prefixes=(prefix,))
        result = _scores_of_version([alone], clock)[0]
        if isinstance(result, Exception):
            return result
    return error


def _out_of_range(waiting: _Waiting) -> RequestError:
    """Return an error that names the largest number, the likely cause."""
    [instance], [prefix] = waiting.instances, waiting.prefixes
    sizes = [0.0 if math.isnan(value) else abs(value) for value in instance.numbers]
    name = waiting.layout.numbers[sizes.index(max(sizes))]
    assert waiting.state.champion is not None
    return RequestError(
        f"version {waiting.state.champion.version} cannot compute with these "
        f"values; {prefix}{name} is the farthest from 0",
        field=prefix + name,
    )
