"""
Events: from the bytes of a message to rows of a table, or to a dead letter.

Read in this order. All of it is pure: bytes in, Arrow out.

- ``messages``: a message from the push that brought it
- ``types``: the event types (``events.toml``), and the decoder of their events
- ``values``: rules for values of fields, and the reasons of dead letters
- ``postcodes``: the index of postcodes
- ``rows``: a group of messages to events, truths and refusals, and those to rows
- ``dead_letters``: refused messages as rows, without personal values
"""
