"""
04-StreamFeatures: the consumers of Pub/Sub's pushes.

- ``consumer``: a push in, a group of messages handled, an answer out; then events to
  rows of tables and, enriched, to the next topic; begin here
- ``score``: enriched events to scores
"""
