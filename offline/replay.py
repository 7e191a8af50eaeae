"""
Send messages again: what failed too often, was stored, was refused, or is in a file.

    python -m offline.replay dead-letters
    python -m offline.replay events --from 2026-01-01 --to 2026-01-08
    python -m offline.replay refused --from 2026-01-01 --to 2026-01-08 --reason bad_time
    python -m offline.replay file events.ndjson --rate 200

``dead-letters`` returns the messages of the subscription dead-letters-replay to the
topics that they failed on, as they were. One is acknowledged once it is published; one
that is not comes again within a minute or so.

``events`` rebuilds what stream_events holds of a period, by the time of the events:
each once, amounts and labels as stored, with the age in the place of personal fields
that were not kept. They are copied to a temporary file before the first is sent.

``refused`` takes the messages that stand in the table dead_letters, by the time of
receipt, as they came: once what refused them has been mended.

``file`` publishes every line that is not empty as it is. A line that is
{"data": base64 or an object, "attributes": {...}} is published as that message. The
file may be compressed by gzip or Zstandard.

Replaying is harmless: an event that is stored under its event_id already counts once,
however often it comes. A message that names no event_id has its message id for one, and
is sent with that. Two kinds may count twice: a line of a file that names neither, which
is counted here; and a dead letter without an event_id that was stored before it failed,
since Pub/Sub gives dead letters ids of their own. Every subscription of a topic gets
what is sent to it: what returns to ``enriched`` is scored and archived anew.

An event that is replayed is received now. Where its day is further back than
PROPENSITY_MAXIMUM_LATENESS_DAYS it counts as late: one that is stored already stays in
features and exports as it was; one that is not, as in an empty dataset, is in the
features once the compaction has run, and in no export by day. To rebuild exports from
old events, raise the setting for stream_features and compact_features meanwhile.

Ctrl-C stops after what is on its way, and says how to go on. Exits with 1 where
something could not be sent, with 130 after Ctrl-C. Times are UTC, and periods hold
their beginning and not their end.

Reads the same environment as the functions (``docs/settings.md``).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import codecs
import contextlib
import functools
import json
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

import msgspec
import pyarrow as pa
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import (
    BatchSettings,
    LimitExceededBehavior,
    PublisherOptions,
    PublishFlowControl,
)
from google.pubsub_v1 import PublisherClient as PlainPublisherClient
from google.pubsub_v1.types import PubsubMessage
from tqdm import tqdm

from offline.load_postcodes import decompressed
from propensity import topics, usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    MissingTable,
    PropensityError,
    SchemaError,
    Unavailable,
)
from propensity.events.catalogue import Catalogue
from propensity.events.types import PERSONAL, EventType
from propensity.events.values import CENT, REASONS
from propensity.settings import Settings
from propensity.statements import statement

RATE = 1000.0
# What may be sent at once after a pause, in seconds of the rate.
SAVED_S = 0.1
# Longest sleep, so that Ctrl-C is heard.
SLICE_S = 0.2

# Published and not confirmed yet: well above what one round trip takes at any rate.
UNCONFIRMED = 5_000
UNCONFIRMED_BYTES = 64 * 1024**2
BATCH_MESSAGES = 500
BATCH_BYTES = 4 * 1024**2
BATCH_S = 0.02

# Pulled at once. What is pulled has to be published within the subscription's deadline
# for acknowledgements, a minute, at any rate.
PULLED = 500
PULLED_S = 10.0
# A pull that finds nothing so long has found all.
PATIENCE_S = 10.0
PULL_S = 5.0

# Of a message, by Pub/Sub's limits; a Publish request takes some bytes itself.
MAXIMUM_BYTES = 9_990_000
MAXIMUM_ATTRIBUTES = 100
MAXIMUM_KEY_BYTES = 256
MAXIMUM_VALUE_BYTES = 1024
# Of a line: base64 and the attributes make more of a message.
MAXIMUM_LINE_BYTES = 16 * 1024**2

# The one that is pulled; in a deployment behind its prefix.
[SUBSCRIPTION] = [one.name for one in topics.SUBSCRIPTIONS if not one.function]
# What Pub/Sub adds to the attributes of a dead letter.
ADDED = "CloudPubSubDeadLetter"
ORIGIN = "CloudPubSubDeadLetterSourceSubscription"

# An event may be dated ahead of its receipt, by PROPENSITY_MAXIMUM_CLOCK_SKEW_S.
AHEAD = timedelta(days=1)
# Before the first event that the stream takes.
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = 1_000
# Of one request.
MAXIMUM_IDS = 1_000

INTERRUPTED = 130

# Names that the client's ``publish`` takes for arguments of its own.
_ARGUMENTS = frozenset({"self", "topic", "data", "ordering_key", "retry", "timeout"})

_TRANSIENT = if_exception_type(
    api.Aborted,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ResourceExhausted,
    api.ServiceUnavailable,
    api.Unknown,
)

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Outgoing:
    """
    A message to publish to a topic, by its short name.

    ``place`` is how to begin again with it, as options of the command line.
    """

    data: bytes
    attributes: Mapping[str, str]
    topic: str
    place: str = ""

    @property
    def obstacle(self) -> str | None:
        """Why Pub/Sub would refuse it, and all that is sent with it; None if not."""
        if not self.data and not self.attributes:
            return "empty"
        sizes = [
            (len(name.encode()), len(value.encode()))
            for name, value in self.attributes.items()
        ]
        if len(self.data) + sum(map(sum, sizes)) > MAXIMUM_BYTES:
            return "larger than a message may be"
        if len(sizes) > MAXIMUM_ATTRIBUTES or any(
            not 0 < name <= MAXIMUM_KEY_BYTES or value > MAXIMUM_VALUE_BYTES
            for name, value in sizes
        ):
            return "with attributes that no message may have"
        return None


@dataclass(kw_only=True)
class Tally:
    """
    What was sent, and what was not.

    ``sent`` counts by topic and event type, ``left_out`` by reason; ``nameless`` those
    that have no identity of their own. ``place`` is where to go on, None where nothing
    is left.
    """

    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    nameless: int = 0
    examples: list[Outgoing] = field(default_factory=list)
    place: str | None = None
    failure: PropensityError | None = None
    is_stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    Messages to send.

    ``total`` is how many, or with ``position`` how many bytes; None if not known.
    ``position`` tells how much of them has been read.
    """

    messages: Iterator[Outgoing]
    total: int | None
    position: Callable[[], int] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parse(arguments)
    try:
        tally = run(options)
    except PropensityError as error:
        print(f"replay: {error.message}", file=sys.stderr)
        return 1
    except GoogleAuthError as error:
        print(f"replay: no access to Google Cloud: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "replay: interrupted; sending all of it again is harmless", file=sys.stderr
        )
        return INTERRUPTED
    print(told(tally, options))
    if tally.failure is not None:
        print(f"replay: {tally.failure.message}", file=sys.stderr)
    if tally.is_stopped:
        return INTERRUPTED
    return 1 if tally.failure or tally.left_out else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--topic",
        help="send everything there (default: events; for dead letters, where each "
        "was before)",
    )
    shared.add_argument(
        "--rate",
        type=_rate,
        default=RATE,
        metavar="N",
        help=f"messages a second, 0 for no limit (default: {RATE:g})",
    )
    shared.add_argument("--limit", type=_count, metavar="N", help="stop after so many")
    shared.add_argument(
        "--dry-run",
        action="store_true",
        help="count what would be sent; send and acknowledge nothing",
    )
    shared.add_argument(
        "--show",
        type=_count,
        default=0,
        metavar="N",
        help="print the first messages, personal fields and all",
    )
    period = argparse.ArgumentParser(add_help=False)
    for name, of in (("--from", "first moment"), ("--to", "moment after the last")):
        period.add_argument(
            name,
            dest={"--from": "since", "--to": "until"}[name],
            type=_moment,
            required=True,
            metavar="TIME",
            help=f"{of}: a day or a time in ISO 8601, UTC if it names no zone",
        )
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")

    one = sources.add_parser(
        "dead-letters", parents=[shared], help="what failed too often"
    )
    one.add_argument(
        "--wait",
        type=_rate,
        default=PATIENCE_S,
        metavar="SECONDS",
        help=f"without a message before it ends (default: {PATIENCE_S:g})",
    )
    one = sources.add_parser(
        "events", parents=[shared, period], help="events of stream_events"
    )
    one.add_argument("--use-case", default="", help="default: all")
    one.add_argument("--user", default="", help="default: all")
    one = sources.add_parser(
        "refused", parents=[shared, period], help="messages of the table dead_letters"
    )
    one.add_argument("--reason", default="", choices=REASONS, help="default: all")
    one = sources.add_parser("file", parents=[shared], help="lines of a file")
    one.add_argument("path", type=Path, metavar="PATH")
    one.add_argument(
        "--skip", type=_count, default=0, metavar="N", help="first lines to leave out"
    )
    given = parser.parse_args(arguments)
    if "since" in given and given.since >= given.until:
        parser.error("the period is empty: --to has to be later than --from")
    return given


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return rate


def _count(text: str) -> int:
    if not (text.isdecimal() and text.isascii()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return max(FIRST, moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a day nor a time in ISO 8601"
        ) from None


def run(options: argparse.Namespace) -> Tally:
    """
    Replay what the command line says; return what became of it.

    Raises:
        PropensityError: Nothing was sent.
    """
    settings = Settings.from_environment()
    catalogue = Catalogue([usecases.load(name) for name in usecases.names()])
    tally = Tally()
    with contextlib.ExitStack() as undo:
        sender = Sender(
            settings, catalogue, tally, is_dry=options.dry_run, shown=options.show
        )
        undo.callback(sender.close)
        bucket = TokenBucket(0.0 if options.dry_run else options.rate)
        if options.source == "dead-letters":
            letters = undo.enter_context(contextlib.closing(DeadLetters(settings)))
            stop = undo.enter_context(Stop())
            send = functools.partial(send_dead_letters, letters, options=options)
        else:
            source = undo.enter_context(opened(options, settings, catalogue, tally))
            # Until here nothing has been sent, and Ctrl-C ends it at once.
            stop = undo.enter_context(Stop())
            send = functools.partial(send_all, source, limit=options.limit)
        try:
            send(sender=sender, bucket=bucket, stop=stop)
        except PropensityError as error:
            tally.failure = error
        tally.is_stopped = stop.is_asked
    return tally


def told(tally: Tally, options: argparse.Namespace) -> str:
    """Return what to tell of a replay."""
    verb = "would be sent" if options.dry_run else "sent"
    lines = [f"{tally.sent.total():,} messages {verb}"]
    for topic in sorted({topic for topic, _ in tally.sent}):
        kinds = (
            f"{count:,} {kind}"
            for (where, kind), count in sorted(tally.sent.items())
            if where == topic
        )
        lines.append(f"  to {topic}: {', '.join(kinds)}")
    for message in tally.examples:
        text = message.data.decode(errors="replace")
        attributes = json.dumps(dict(message.attributes))
        lines.append(f"to {message.topic}, with attributes {attributes}:\n{text}")
    lines += [
        f"{count:,} left out: {reason}"
        for reason, count in sorted(tally.left_out.items())
    ]
    if tally.nameless:
        lines.append(
            f"{tally.nameless:,} without an event_id: they count anew whenever they "
            "are sent"
        )
    if tally.place is not None:
        lines.append(f"There may be more. Run the same again{tally.place}.")
    return "\n".join(lines)


@contextlib.contextmanager
def opened(
    options: argparse.Namespace,
    settings: Settings,
    catalogue: Catalogue,
    tally: Tally,
) -> Iterator[Source]:
    """
    Open the source that the command line names.

    Raises:
        SchemaError: There is no such file.
        PropensityError: BigQuery could not be read.
    """
    topic = options.topic or topics.topic_name(settings, topics.EVENTS)
    if options.source == "file":
        with lines_of(options.path, skip=options.skip, topic=topic, tally=tally) as one:
            yield one
        return
    # Only what is wanted and one more, so that it is known where to go on.
    most = None if options.limit is None else options.limit + 1
    warehouse = Warehouse.open(settings)
    with contextlib.closing(warehouse):
        if options.source == "events":
            parameters = {
                "since": options.since,
                "until": options.until,
                "earliest": (options.since - AHEAD).date(),
                "use_case": options.use_case,
                "user_id": options.user,
            }
            batches = warehouse.batches(statement("replay_events"), parameters)
        else:
            parameters = {
                "since": options.since,
                "until": options.until,
                "first_day": options.since.date(),
                "last_day": options.until.date(),
                "reason": options.reason,
            }
            batches = warehouse.batches(statement("replay_dead_letters"), parameters)
        with spooled(batches, most=most) as (rows, total):
            yield Source(
                messages=(
                    stored_events(rows, catalogue, topic=topic, tally=tally)
                    if options.source == "events"
                    else refused_messages(rows, topic=topic, tally=tally)
                ),
                total=total if options.limit is None else min(total, options.limit),
            )


# Sending ------------------------------------------------------------------------------


class Stop:
    """Ctrl-C, heard once: ``is_asked`` from then on. Pressed again, it interrupts."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        signal.signal(number, self._before[number])


class TokenBucket:
    """
    Lets messages through at a rate, exactly on average.

    The n-th is due n times the gap after the first, however long a sleep took. Time in
    which none came is made up for by ``SAVED_S`` of the rate at most.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            rate: Messages a second; 0 for no limit.
            clock: Seconds.
            sleep: For seconds.
        """
        self._gap = 1.0 / rate if rate else 0.0
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    def take(self, stop: Stop) -> bool:
        """Wait until the next may go; return False if it is to stop instead."""
        self._due = max(self._due, self._clock() - SAVED_S)
        while (left := self._due - self._clock()) > 0 and not stop.is_asked:
            self._sleep(min(left, SLICE_S))
        self._due += self._gap
        return not stop.is_asked


class Sender:
    """Publishes messages, and counts in its tally those that Pub/Sub has."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        tally: Tally,
        *,
        is_dry: bool,
        shown: int,
    ) -> None:
        """
        Args:
            settings: Of the deployment.
            catalogue: Whose event types are counted by name.
            tally: Is counted up. After a failure in it no more should be sent.
            is_dry: Only count.
            shown: How many messages the tally keeps, the first ones.
        """
        self.tally = tally
        self._catalogue = catalogue
        self._shown = shown
        self._project = settings.project
        self._unconfirmed: deque[tuple[Any, Outgoing]] = deque()
        self._retry = Retry(
            predicate=_TRANSIENT,
            initial=0.1,
            maximum=5.0,
            timeout=float(settings.retry_deadline_s),
        )
        self._client: Any = None if is_dry else self._opened()

    def _opened(self) -> Any:
        return PublisherClient(
            BatchSettings(
                max_bytes=BATCH_BYTES, max_latency=BATCH_S, max_messages=BATCH_MESSAGES
            ),
            PublisherOptions(
                flow_control=PublishFlowControl(
                    message_limit=UNCONFIRMED,
                    byte_limit=UNCONFIRMED_BYTES,
                    limit_exceeded_behavior=LimitExceededBehavior.BLOCK,
                ),
                retry=self._retry,
            ),
        )

    def send(self, message: Outgoing) -> Any:
        """
        Publish a message, or leave out one that Pub/Sub can not take.

        Waits where too much is on its way.

        Returns:
            Its future; None if nothing was sent.
        """
        if (obstacle := message.obstacle) is not None:
            self.tally.left_out[obstacle] += 1
            return None
        if len(self.tally.examples) < self._shown:
            self.tally.examples.append(message)
        if self._client is None:
            self._count(message)
            return None
        self._settle()
        path = f"projects/{self._project}/topics/{message.topic}"
        if _ARGUMENTS.isdisjoint(message.attributes):
            future = self._client.publish(path, message.data, **message.attributes)
        else:
            future = self._published_alone(path, message)
        self._unconfirmed.append((future, message))
        return future

    def _published_alone(self, path: str, message: Outgoing) -> Any:
        """Publish what has attributes of names that ``publish`` takes for its own."""
        future: Future[str] = Future()
        one = PubsubMessage(data=message.data, attributes=dict(message.attributes))
        try:
            answer = PlainPublisherClient.publish(
                self._client, topic=path, messages=[one], retry=self._retry
            )
            future.set_result(answer.message_ids[0])
        except api.GoogleAPIError as error:
            future.set_exception(error)
        return future

    def drain(self) -> None:
        """Wait until everything is published, or has failed."""
        while self._unconfirmed:
            self._unconfirmed[0][0].exception()
            self._settle()

    def _settle(self) -> None:
        while self._unconfirmed and self._unconfirmed[0][0].done():
            future, message = self._unconfirmed.popleft()
            error = future.exception()
            if error is None:
                self._count(message)
            elif self.tally.failure is None:
                self.tally.failure = translated(error, f"topic {message.topic}")
                self.tally.place = message.place

    def _count(self, message: Outgoing) -> None:
        kind = head_of(message.data).event_type
        known = isinstance(kind, str) and kind in self._catalogue.types
        self.tally.sent[message.topic, kind if known else "other"] += 1

    def close(self) -> None:
        """Close the connection; what is not drained may be lost."""
        if self._client is not None:
            self._client.stop()
            self._client.transport.close()


def translated(error: Exception, what: str) -> PropensityError:
    """Return the project's error for one of the Pub/Sub client's."""
    text = getattr(error, "message", "") or str(error)
    if isinstance(error, api.NotFound):
        return MissingTable(f"Pub/Sub does not find {what}. Run the set-up")
    if isinstance(error, (api.BadRequest, api.Forbidden, api.Unauthorized)):
        return PropensityError(f"Pub/Sub refuses {what}: {text}")
    return Unavailable(f"Pub/Sub did not answer for {what}: {text}")


def send_all(
    source: Source,
    *,
    sender: Sender,
    bucket: TokenBucket,
    stop: Stop,
    limit: int | None,
) -> None:
    """
    Send what a source has, until it is asked to stop or sending fails.

    Args:
        source: Of messages.
        sender: To publish them; its tally has where to go on if that was not the end.
        bucket: Of the rate.
        stop: When to stop.
        limit: How many messages to take, None for all.

    Raises:
        SchemaError: The source can not be read further.
    """
    tally = sender.tally
    in_bytes = source.position is not None
    with tqdm(
        desc="sending",
        total=source.total,
        unit="B" if in_bytes else " messages",
        unit_scale=in_bytes,
        disable=None,
    ) as bar:
        try:
            for taken, message in enumerate(source.messages):
                is_enough = taken == limit or tally.failure is not None
                if is_enough or not bucket.take(stop):
                    tally.place = tally.place or message.place
                    break
                sender.send(message)
                bar.update(1 if source.position is None else source.position() - bar.n)
        finally:
            sender.drain()


# Dead letters -------------------------------------------------------------------------


class DeadLetters:
    """
    The subscription to the topic of dead letters.

    What was pulled and not acknowledged goes back to it on ``close``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client = SubscriberClient()
        self._name = topics.prefixed(settings.topic_prefix, SUBSCRIPTION)
        self._path = f"projects/{settings.project}/subscriptions/{self._name}"
        self._held: dict[str, str] = {}  # id for acknowledgement, by message id

    def pull(self, count: int, *, seconds: float) -> list[Any]:
        """
        Return messages that are not held yet, none if none came in time.

        Raises:
            PropensityError: There is no such subscription, or no answer.
        """
        try:
            answer = self._client.pull(
                subscription=self._path, max_messages=count, retry=None, timeout=seconds
            )
        except api.DeadlineExceeded:
            return []
        except api.GoogleAPIError as error:
            raise translated(error, f"subscription {self._name}") from error
        new = {}
        for one in answer.received_messages:
            if one.message.message_id not in self._held:
                new[one.message.message_id] = one.message
            self._held[one.message.message_id] = one.ack_id
        return list(new.values())

    def acknowledge(self, message_ids: Iterable[str]) -> None:
        """
        Take messages out of the subscription, for good.

        Raises:
            PropensityError: They may be delivered again.
        """
        done = list(message_ids)
        try:
            for ids in _pieces([self._held[one] for one in done]):
                self._client.acknowledge(subscription=self._path, ack_ids=ids)
        except api.GoogleAPIError as error:
            raise translated(error, f"subscription {self._name}") from error
        for one in done:
            del self._held[one]

    def close(self) -> None:
        """Give back what is held, which would come back in a minute by itself."""
        with contextlib.suppress(api.GoogleAPIError):
            for ids in _pieces(list(self._held.values())):
                self._client.modify_ack_deadline(
                    subscription=self._path, ack_ids=ids, ack_deadline_seconds=0
                )
        self._client.close()


def _pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), MAXIMUM_IDS):
        yield ids[start : start + MAXIMUM_IDS]


def send_dead_letters(
    letters: DeadLetters,
    *,
    sender: Sender,
    bucket: TokenBucket,
    stop: Stop,
    options: argparse.Namespace,
) -> None:
    """
    Send dead letters back until none comes for a while; acknowledge what was sent.

    Args:
        letters: The subscription.
        sender: To publish them.
        bucket: Of the rate.
        stop: When to stop.
        options: ``topic``, ``limit``, ``rate``, ``wait`` and ``dry_run``.

    Raises:
        PropensityError: The subscription can not be read, or what was sent can not be
            acknowledged and will be sent again.
    """
    tally = sender.tally
    # What is pulled has to be sent well before its deadline for acknowledgement.
    most = max(1, min(PULLED, int((options.rate or PULLED) * PULLED_S)))
    left = options.limit
    is_due = False
    newest = time.monotonic()
    with tqdm(desc="sending", unit=" messages", disable=None) as bar:
        while not stop.is_asked and tally.failure is None and left != 0:
            # Before the pull: at a low rate the wait may outlast the deadline.
            is_due = is_due or bucket.take(stop)
            if not is_due:
                break
            count = most if left is None else min(most, left)
            new = letters.pull(count, seconds=max(2.0, min(PULL_S, options.wait)))
            if not new:
                if time.monotonic() - newest >= options.wait:
                    return
                continue
            futures = {}
            for message in new:
                if not (is_due or bucket.take(stop)):
                    break
                is_due = False
                outgoing = returned(message, letters.settings, topic=options.topic)
                if outgoing is None:
                    origin = message.attributes[ORIGIN]
                    tally.left_out[f"of {origin}, which is no subscription here"] += 1
                else:
                    futures[message.message_id] = sender.send(outgoing)
                left = None if left is None else left - 1
                bar.update()
            sender.drain()
            letters.acknowledge(
                one
                for one, future in futures.items()
                if future is not None and future.exception() is None
            )
            newest = time.monotonic()
    tally.place = ""


def returned(
    message: PubsubMessage, settings: Settings, *, topic: str | None
) -> Outgoing | None:
    """
    Return a dead letter as the message that it was, to the topic that it was on.

    Args:
        message: From the topic of dead letters.
        settings: Which may name topics otherwise.
        topic: Where it is to go in any case, None for where it was.

    Returns:
        None if it comes from a subscription that nobody here knows.
    """
    known = {
        topics.subscription_name(settings, one): topics.topic_name(settings, one.topic)
        for one in topics.SUBSCRIPTIONS
    }
    origin = message.attributes.get(ORIGIN)
    # Without an origin somebody put it there by hand.
    by_hand = topics.topic_name(settings, topics.EVENTS)
    to = topic or (by_hand if origin is None else known.get(origin))
    if to is None:
        return None
    kept = {
        name: value
        for name, value in message.attributes.items()
        if not name.startswith(ADDED)
    }
    return Outgoing(
        data=message.data,
        attributes=identified(message.data, kept, message.message_id),
        topic=to,
    )


# Stored rows --------------------------------------------------------------------------


@contextlib.contextmanager
def spooled(
    batches: Iterator[pa.RecordBatch], *, most: int | None
) -> Iterator[tuple[Iterator[Mapping[str, Any]], int]]:
    """
    Copy rows to a file that goes again, and yield them, and how many there are.

    A replay may take days, and BigQuery keeps a stream open for minutes.

    Args:
        batches: Of rows.
        most: How many to copy, None for all.
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
        rows: As ``replay_events.sql`` returns them.
        catalogue: Of the event types.
        topic: Where they are to go.
        tally: Counts those of a type that is not taken any more.
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

    A registration has its age in the place of personal fields that were not kept. What
    it was enriched with is there for those who read enriched events.

    Args:
        row: Values by column.
        declared: Its type.
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
            amount = row["amount"]
            event[name] = None if amount is None else amount.quantize(CENT)
        elif kind == "identity":
            event[name] = row["event_id"]
        elif kind == "instant":
            if name in further:
                event[name] = further[name]
        elif kind not in PERSONAL:
            event[name] = row[name] if name in row else further.get(name)
        elif row.get(name) is not None:
            event[name] = row[name]
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
        rows: As ``replay_dead_letters.sql`` returns them.
        topic: Where they are to go.
        tally: Counts those of which only the beginning was kept.
    """
    for row in rows:
        data = row["raw"] or b""
        if row["raw_size"] is not None and row["raw_size"] > len(data):
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


# Files --------------------------------------------------------------------------------


class _Message(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """A message as Pub/Sub's JSON writes it; its data may be an object too."""

    data: msgspec.Raw
    attributes: dict[str, str] | None = None
    message_id: str = ""
    publish_time: str = ""
    ordering_key: str = ""


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_text = msgspec.json.Decoder(str).decode


@contextlib.contextmanager
def lines_of(path: Path, *, skip: int, topic: str, tally: Tally) -> Iterator[Source]:
    """
    Open a file of events.

    Args:
        path: One a line; may be packed by gzip or Zstandard.
        skip: Lines to leave out at the beginning.
        topic: Where they are to go.
        tally: Counts those that are too long, and those that have no identity.

    Raises:
        SchemaError: There is no such file.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise SchemaError(f"{path} can not be read: {error.strerror}") from error
    with raw:
        lines = _lines(path, raw, tally)
        yield Source(
            messages=_of_lines(lines, skip=skip, topic=topic, tally=tally),
            total=path.stat().st_size,
            position=raw.tell,
        )


def _lines(path: Path, raw: IO[bytes], tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their number, from 1; in the place of one too long, nothing."""
    number = 0
    try:
        file = decompressed(raw)
        while line := file.readline(MAXIMUM_LINE_BYTES):
            number += 1
            if len(line) == MAXIMUM_LINE_BYTES and not line.endswith(b"\n"):
                tally.left_out["longer than a line may be"] += 1
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAXIMUM_LINE_BYTES)
                line = b""
            yield number, line
    except OSError as error:
        raise SchemaError(
            f"{path} can not be read after line {number}: {error}"
        ) from error


def _of_lines(
    lines: Iterable[tuple[int, bytes]], *, skip: int, topic: str, tally: Tally
) -> Iterator[Outgoing]:
    for number, line in lines:
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        if number <= skip or not text.strip():
            continue
        data, attributes, message_id = unwrapped(text)
        if message_id:
            attributes = identified(data, attributes, message_id)
        elif not (head_of(data).event_id or attributes.get("event_id")):
            tally.nameless += 1
        yield Outgoing(data, attributes, topic, f" with --skip {number - 1}")


def unwrapped(line: bytes) -> tuple[bytes, Mapping[str, str], str]:
    """
    Return the payload, the attributes and the message id of a line.

    The line itself is the payload unless it is a message: an object with ``data``,
    base64 or an object, and nothing else but ``attributes`` and what else Pub/Sub says
    of one.
    """
    if b'"data"' not in line:
        return line, {}, ""
    try:
        found = _decode_message(line)
        data = bytes(found.data)
        if data.startswith(b'"'):
            data = base64.b64decode(_decode_text(data), validate=True)
        elif not data.startswith(b"{"):
            return line, {}, ""
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        return line, {}, ""
    return data, found.attributes or {}, found.message_id


# Events -------------------------------------------------------------------------------


class Head(msgspec.Struct, gc=False):
    """What is asked of a payload, whatever it is."""

    event_type: Any = None
    event_id: Any = None


_decode_head = msgspec.json.Decoder(Head).decode
_NO_HEAD = Head()


def head_of(data: bytes) -> Head:
    """Return type and id of an event; of what can not be read, neither."""
    try:
        return _decode_head(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _NO_HEAD


def identified(
    data: bytes, attributes: Mapping[str, str], message_id: str
) -> Mapping[str, str]:
    """
    Return attributes with an ``event_id``, unless payload or attributes have one.

    A message without one is known by its message id. It gets another one when it is
    sent again, and has to remain the same event.
    """
    if attributes.get("event_id") or head_of(data).event_id:
        return attributes
    return {**attributes, "event_id": message_id}


if __name__ == "__main__":
    sys.exit(main())
