"""
Features of the stream: events are stored, and summed up by user and day.

- ``consumer``: a push of Pub/Sub in, a group of messages handled, an answer out; then
  events to rows of tables and, enriched, to the next topic; begin here
- ``compact``: the nightly sums of the stream's days, and Parquet of closed days
- ``user_features``: features of users as of now
"""
