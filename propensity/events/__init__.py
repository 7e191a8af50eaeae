"""
Events: from the bytes of a message to rows of a table, or a reason.

Read in this order. All of it is pure: bytes and Arrow in, Arrow out.

- ``values``: what a field holds, read kind by kind, and why an event is refused
- ``types``: the event types (``events.toml``), their kinds of fields, their structs
- ``catalogue``: the types of all use cases, and how events are decoded by them
- ``messages``: a message out of any envelope that Pub/Sub pushes
- ``reading``: a batch of messages to what came of it: rows, truths, refusals
- ``rows``: columns of ``stream_events``, rows of ``dead_letters``
- ``postcodes``: the socioeconomic index of a postcode
- ``redaction``: what personal fields are replaced by
"""
