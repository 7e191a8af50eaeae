"""
Events: from the bytes of a message to rows of a table, or a reason.

Read in this order. All of it is pure: bytes and Arrow in, Arrow out.

- ``types``: the event types (``events.toml``), their fields, why an event is refused
- ``messages``: a message out of any envelope that Pub/Sub pushes
- ``reading``: a batch of messages to rows of ``stream_events``, truths and dead letters
- ``postcodes``: the socioeconomic index of a postcode
- ``redaction``: what personal fields are replaced by
"""
