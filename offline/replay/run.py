"""Replay a plan: open its source, and send its messages."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

from offline.replay.dead_letters import PATIENCE_S, DeadLetters, send_dead_letters
from offline.replay.files import lines_of
from offline.replay.messages import Source, Tally
from offline.replay.rows import refused_messages, spooled, stored_events
from offline.replay.sending import RATE, Sender, Stop, TokenBucket, send_all
from propensity import topics, usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import PropensityError
from propensity.events.catalogue import Catalogue
from propensity.settings import Settings
from propensity.statements import statement

SQL = resources.files(__package__)

# An event may be dated ahead of its receipt, by ten minutes.
AHEAD = timedelta(days=1)

# Before the first event that the stream takes.
FIRST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    The source of a replay, its rate and its limits.

    ``source`` is ``dead-letters``, ``events``, ``refused`` or ``file``; options of
    other sources keep their defaults. ``topic`` receives all messages, None for the
    topic of each; ``rate`` is in messages a second, 0 for no limit; ``limit`` is the
    maximum of messages. ``shown`` messages are kept as examples.
    """

    source: str
    topic: str | None = None
    rate: float = RATE
    limit: int | None = None
    is_dry: bool = False
    shown: int = 0
    # Of dead letters: seconds without a message before it ends.
    wait: float = PATIENCE_S
    # Of events and refused messages; the period holds its beginning and not its end.
    since: datetime = FIRST
    until: datetime = FIRST
    # Of events; all of them where it is empty.
    use_case: str = ""
    user: str = ""
    # Of refused messages; all where it is empty.
    reason: str = ""
    # Of a file: its path, and how many of its first lines to leave out.
    path: Path = Path()
    skip: int = 0


def run(plan: Plan) -> Tally:
    """
    Replay a plan; return the tally.

    Raises:
        PropensityError: Nothing was sent; or there is no such use case.
    """
    settings = Settings.from_environment()
    if plan.use_case:
        usecases.load(plan.use_case)
    catalogue = Catalogue([usecases.load(name) for name in usecases.names()])
    tally = Tally(is_dry=plan.is_dry)
    with contextlib.ExitStack() as undo:
        sender = Sender(
            settings, catalogue, tally, is_dry=plan.is_dry, shown=plan.shown
        )
        undo.callback(sender.close)
        bucket = TokenBucket(0.0 if plan.is_dry else plan.rate)
        send: Callable[..., None]
        if plan.source == "dead-letters":
            letters = undo.enter_context(contextlib.closing(DeadLetters(settings)))
            stop = undo.enter_context(Stop())
            send = functools.partial(
                send_dead_letters,
                letters,
                topic=plan.topic,
                limit=plan.limit,
                rate=plan.rate,
                wait=plan.wait,
            )
        else:
            source = undo.enter_context(opened(plan, settings, catalogue, tally))
            # Until here nothing has been sent, and Ctrl-C ends it at once.
            stop = undo.enter_context(Stop())
            send = functools.partial(send_all, source, limit=plan.limit)
        try:
            send(sender=sender, bucket=bucket, stop=stop)
        except PropensityError as error:
            tally.failure = error
        tally.is_stopped = stop.is_asked
    return tally


@contextlib.contextmanager
def opened(
    plan: Plan, settings: Settings, catalogue: Catalogue, tally: Tally
) -> Iterator[Source]:
    """
    Open the source that a plan names.

    Raises:
        SchemaError: There is no such file.
        PropensityError: BigQuery could not be read.
    """
    topic = plan.topic or topics.topic_name(settings, topics.EVENTS)
    if plan.source == "file":
        with lines_of(plan.path, skip=plan.skip, topic=topic, tally=tally) as lines:
            yield lines
        return
    # One more than the limit: it says where the next replay goes on.
    most = None if plan.limit is None else plan.limit + 1
    period = {"since": plan.since, "until": plan.until}
    with contextlib.closing(Warehouse.open(settings)) as warehouse:
        if plan.source == "events":
            parameters = {
                **period,
                "earliest": (plan.since - AHEAD).date(),
                "use_case": plan.use_case,
                "user_id": plan.user,
            }
            batches = warehouse.batches(statement("replay_events", own=SQL), parameters)
        else:
            parameters = {
                **period,
                "first_day": plan.since.date(),
                "last_day": plan.until.date(),
                "reason": plan.reason,
            }
            batches = warehouse.batches(
                statement("replay_dead_letters", own=SQL), parameters
            )
        with spooled(batches, most=most) as (rows, total):
            yield Source(
                messages=(
                    stored_events(rows, catalogue, topic=topic, tally=tally)
                    if plan.source == "events"
                    else refused_messages(rows, topic=topic, tally=tally)
                ),
                total=total if plan.limit is None else min(total, plan.limit),
            )
