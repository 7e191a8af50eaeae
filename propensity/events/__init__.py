"""
Events: from the bytes of a message to rows of a table, or to a dead letter.

Read in this order. All of it is pure: bytes in, Arrow out.

- ``messages``: a message from the push that brought it
- ``values``: parsers of field values, and the reasons of dead letters
- ``types``: the event types (``events.toml``), their kinds of fields, their structs
- ``catalogue``: the types of all use cases; decodes events
- ``columns``: columns that rows of several tables have
- ``rows``: a group of messages to rows, truths and refusals
- ``enrichment``: what the stream adds to an event before it is published
- ``dead_letters``: refused messages as rows, without personal values
"""
