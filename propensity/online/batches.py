"""
Scores of instances that wait at the same time, by one call of the model.

Belongs to one event loop. No user and no feature is ever in a line of the log.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from propensity.clock import Clock
from propensity.edges.counts import Counts
from propensity.edges.log import log
from propensity.errors import RequestError
from propensity.online.instances import FUNCTION, Instance, Layout
from propensity.registry.loading import Serving
from propensity.registry.serving import ServingState

# Instances scored by one call, unless a single request has more.
GROUP_INSTANCES = 256
# More than these are scored in a thread, so that others are not held up meanwhile.
# Fewer are not: a thread that needs the interpreter back again and again, as
# scikit-learn does, waits for the event loop each time.
THREAD_INSTANCES = 128


@dataclass(frozen=True, slots=True)
class Scored:
    """
    Scores of a question, all of one version.

    Attributes:
        state: What served: its champion gave ``values``, its shadow ``shadow``.
        values: A score for each instance; NaN while the model is not warm.
        shadow: Likewise; None where nothing scores beside.
        at: When they were scored, in UTC.
    """

    state: ServingState
    values: Sequence[float]
    shadow: Sequence[float] | None
    at: datetime


@dataclass(slots=True, eq=False)
class _Waiting:
    """A question that waits for its scores."""

    layout: Layout
    state: ServingState
    instances: Sequence[Instance]
    prefixes: Sequence[str]
    done: asyncio.Future[Scored]


class MicroBatches:
    """
    Scores what waits at the same time by one call for each version.

    A group begins as soon as it is as large as the last one was, or when its first
    question has waited ``linger_s``. So a question that comes alone waits for nobody,
    and those of many callers go together.
    """

    def __init__(self, counts: Counts, *, clock: Clock, linger_s: float) -> None:
        self._counts = counts
        self._clock = clock
        self._linger_s = linger_s
        self._queue: deque[_Waiting] = deque()
        self._since = 0.0
        self._expected = 1
        self._is_woken = False
        self._is_busy = False
        self._timer: asyncio.TimerHandle | None = None

    async def score(
        self,
        layout: Layout,
        state: ServingState,
        instances: Sequence[Instance],
        prefixes: Sequence[str],
    ) -> Scored:
        """
        Return the scores of instances by what serves.

        Args:
            layout: Of their use case.
            state: With a champion.
            instances: One at least.
            prefixes: Of the fields of each, for errors.

        Raises:
            RequestError: The model does not take one of them.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(layout, state, instances, prefixes, loop.create_future())
        if not self._queue:
            self._since = loop.time()
        self._queue.append(waiting)
        if not self._is_woken:
            # Not at once: requests that arrived together go together.
            self._is_woken = True
            loop.call_soon(self._wake)
        return await waiting.done

    def _wake(self) -> None:
        self._is_woken = False
        if self._is_busy or not self._queue:
            return
        if len(self._queue) < self._expected:
            loop = asyncio.get_running_loop()
            rest = self._since + self._linger_s - loop.time()
            if rest > 0:
                if self._timer is None:
                    self._timer = loop.call_later(rest, self._ring)
                return
        self._begin()

    def _ring(self) -> None:
        self._timer = None
        self._wake()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group: list[_Waiting] = []
        count = 0
        while self._queue:
            oldest = self._queue[0]
            if group and count + len(oldest.instances) > GROUP_INSTANCES:
                break
            self._queue.popleft()
            # Nobody waits for one whose request has gone.
            if not oldest.done.cancelled():
                group.append(oldest)
                count += len(oldest.instances)
        self._expected = len(group)
        self._counts.add(groups=1)
        if count <= THREAD_INSTANCES:
            self._answer(group, _scored(group, self._clock))
        else:
            self._is_busy = True
            task = asyncio.get_running_loop().create_task(self._in_thread(group))
            task.add_done_callback(self._freed)
        self._again()

    async def _in_thread(self, group: Sequence[_Waiting]) -> None:
        self._answer(group, await asyncio.to_thread(_scored, group, self._clock))

    def _freed(self, _: asyncio.Task[None]) -> None:
        self._is_busy = False
        self._again()

    def _again(self) -> None:
        if self._queue and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _answer(
        self, group: Sequence[_Waiting], found: Sequence[Scored | Exception]
    ) -> None:
        for waiting, one in zip(group, found, strict=True):
            if waiting.done.done():
                continue
            if isinstance(one, Exception):
                waiting.done.set_exception(one)
            else:
                waiting.done.set_result(one)


def _scored(group: Sequence[_Waiting], clock: Clock) -> list[Scored | Exception]:
    """Score a group, the questions of each version by one call; in their order."""
    parts: dict[tuple[int, int], list[int]] = {}
    for place, one in enumerate(group):
        key = (id(one.state.champion), id(one.state.shadow))
        parts.setdefault(key, []).append(place)
    found: list[Any] = [None] * len(group)
    for places in parts.values():
        part = [group[place] for place in places]
        try:
            scored = _of_one_version(part, clock)
        except Exception as error:  # whoever waits must learn it
            scored = [error for _ in part]
        for place, result in zip(places, scored, strict=True):
            found[place] = result
    return found


def _of_one_version(
    group: Sequence[_Waiting], clock: Clock
) -> list[Scored | Exception]:
    layout, state = group[0].layout, group[0].state
    champion, shadow = state.champion, state.shadow
    assert champion is not None
    every = [one for waiting in group for one in waiting.instances]
    try:
        if any(one.nulls for one in every):
            for waiting in group:
                _refuse_nulls(waiting, champion)
        values = champion.scorer.probabilities(layout.rows(every)).tolist()
    except (RequestError, ValueError) as error:
        # One that the model does not take must not touch another.
        if len(group) > 1:
            return [_of_one_version([waiting], clock)[0] for waiting in group]
        if isinstance(error, RequestError) or len(every) > 1:
            return [_culprit(group[0], error, clock)]
        return [_out_of_range(group[0])]
    beside = None if shadow is None else _beside(layout, shadow, every)
    at = clock.now()
    found: list[Scored | Exception] = []
    start = 0
    for waiting in group:
        stop = start + len(waiting.instances)
        found.append(
            Scored(
                waiting.state,
                values[start:stop],
                None if beside is None else beside[start:stop],
                at,
            )
        )
        start = stop
    return found


def _refuse_nulls(waiting: _Waiting, serving: Serving) -> None:
    """
    Refuse a null where training did not fill gaps.

    Raises:
        RequestError: A number is null that may not be.
    """
    unfilled = serving.scorer.unfilled
    for one, prefix in zip(waiting.instances, waiting.prefixes, strict=True):
        for name in one.nulls:
            if name in unfilled:
                raise RequestError(
                    f"{prefix}{name} may not be null: version {serving.version} has "
                    "nothing to put in its place",
                    field=prefix + name,
                )


def _culprit(waiting: _Waiting, error: Exception, clock: Clock) -> Exception:
    """Return the error of the first instance that the model does not take."""
    if isinstance(error, RequestError):
        return error
    for one, prefix in zip(waiting.instances, waiting.prefixes, strict=True):
        alone = _Waiting(waiting.layout, waiting.state, (one,), (prefix,), waiting.done)
        found = _of_one_version([alone], clock)[0]
        if isinstance(found, Exception):
            return found
    return error


def _out_of_range(waiting: _Waiting) -> RequestError:
    """Name the number that a model most likely could not compute with."""
    [one], [prefix] = waiting.instances, waiting.prefixes
    sizes = [0.0 if math.isnan(value) else abs(value) for value in one.numbers]
    name = waiting.layout.numbers[sizes.index(max(sizes))]
    assert waiting.state.champion is not None
    return RequestError(
        f"version {waiting.state.champion.version} cannot compute with these "
        f"values; {prefix}{name} is the farthest from 0",
        field=prefix + name,
    )


def _beside(
    layout: Layout, shadow: Serving, instances: Sequence[Instance]
) -> list[float] | None:
    """Return the scores of a shadow; None where it fails, which nobody waits for."""
    try:
        found: list[float] = shadow.scorer.probabilities(
            layout.rows(instances)
        ).tolist()
    except Exception as error:  # an answer does not depend on it
        log(
            "ERROR",
            f"version {shadow.version} did not score as shadow: {type(error).__name__}",
            function=FUNCTION,
            use_case=layout.use_case.name,
        )
        return None
    return found
