"""
The streaming wing: all that knows of single events.

- ``events/``: from the bytes of a message to rows, or to a dead letter
- ``features/``: 04-StreamFeatures: events stored, and summed up by user
- ``scores/``: events and users scored one by one, over Pub/Sub and HTTP; their log
- ``cards/``: models of events, such as payments that may be fraud

It may import ``runs`` and what stands below it; nothing of the package but the laptop's
wing imports it. Tests: ``tests/propensity/streaming``.
"""
