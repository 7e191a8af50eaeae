"""
Events: from the bytes of a message to rows of a table, or to a dead letter.

Read in this order. All of it is pure: bytes and Arrow in, Arrow out.

- ``values``: parsers of field values, and the reasons of dead letters
- ``types``: the event types (``events.toml``), their kinds of fields, their structs
- ``catalogue``: the types of all use cases; decodes events
- ``messages``: a message from any envelope that Pub/Sub pushes
- ``decoding``: messages to events, each with its type, use case, user and id
- ``reading``: a batch of messages to rows, truths and refusals
- ``rows``: columns of ``stream_events``, rows of ``dead_letters``
- ``usual_times``: times in the usual format, for a batch at once
- ``record_batches``: rows as the bytes that are appended, from buffers
- ``amounts``: a column of exact decimals from digits
- ``usual_form``: bare events of numbers as most producers write them
- ``numeric``: events that hold numbers alone, for a batch at once
- ``enrichment``: accepted events as they are published
- ``postcodes``: the socioeconomic index of a postcode
- ``redaction``: removes personal values from dead letters
"""
