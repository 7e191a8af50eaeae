"""
Messages to send, where they come from, and what became of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from propensity.errors import PropensityError

# Pub/Sub's limits of a message; a Publish request takes some bytes itself.
MAXIMUM_BYTES = 9_990_000
MAXIMUM_ATTRIBUTES = 100
MAXIMUM_KEY_BYTES = 256
MAXIMUM_VALUE_BYTES = 1024


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
    is left; ``remark`` is what else to know at the end.
    """

    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    nameless: int = 0
    examples: list[Outgoing] = field(default_factory=list)
    place: str | None = None
    remark: str = ""
    failure: PropensityError | None = None
    is_stopped: bool = False
    is_dry: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether all was sent that was to be."""
        return not (self.failure or self.left_out)

    def fields(self) -> dict[str, Any]:
        """Return the counts, and where to go on."""
        return {
            "is_dry": self.is_dry,
            "sent": [
                {"topic": topic, "event_type": kind, "messages": count}
                for (topic, kind), count in sorted(self.sent.items())
            ],
            "left_out": dict(self.left_out),
            "nameless": self.nameless,
            "examples": [
                {
                    "topic": example.topic,
                    "attributes": dict(example.attributes),
                    "data": example.data.decode(errors="replace"),
                }
                for example in self.examples
            ],
            "go_on": self.place,
            "remark": self.remark,
            "failure": self.failure.message if self.failure else None,
            "is_stopped": self.is_stopped,
        }

    def __str__(self) -> str:
        verb = "would be sent" if self.is_dry else "sent"
        lines = [f"{self.sent.total():,} messages {verb}"]
        for topic in sorted({topic for topic, _ in self.sent}):
            kinds = (
                f"{count:,} {kind}"
                for (where, kind), count in sorted(self.sent.items())
                if where == topic
            )
            lines.append(f"  to {topic}: {', '.join(kinds)}")
        for message in self.examples:
            text = message.data.decode(errors="replace")
            attributes = json.dumps(dict(message.attributes))
            lines.append(f"to {message.topic}, with attributes {attributes}:\n{text}")
        lines += [
            f"{count:,} left out: {reason}"
            for reason, count in sorted(self.left_out.items())
        ]
        if self.nameless:
            lines.append(
                f"{self.nameless:,} without an event_id: they count anew whenever "
                "they are sent"
            )
        if self.place is not None:
            lines.append(f"There may be more. Run the same again{self.place}.")
        if self.remark:
            lines.append(self.remark)
        return "\n".join(lines)


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


class Head(msgspec.Struct, gc=False):
    """The fields of a payload that are read, whatever their types."""

    event_type: Any = None
    event_id: Any = None


_decode_head = msgspec.json.Decoder(Head).decode
_NO_HEAD = Head()


def head_of(data: bytes) -> Head:
    """Return type and id of an event; neither if it cannot be read."""
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
