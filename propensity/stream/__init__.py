"""
04-StreamFeatures: the consumers of Pub/Sub's pushes.

Read in this order.

- ``consumer``: their base class: a push in, a group of messages handled, an answer out
- ``ingest``: events to rows of tables and, enriched, to the next topic
- ``score``: enriched events to scores
"""
