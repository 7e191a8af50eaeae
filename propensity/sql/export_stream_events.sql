-- Export a day's events, each once, to Parquet files.
-- Parameters: @day DATE; @earliest DATE, the first day on which an event of that day can
--   have been received. An option takes no parameter, so that the compaction puts its own
--   target in the place of the uri.
-- Source: stream_events.
EXPORT DATA
OPTIONS (
  uri = 'gs://bucket/folder/part-*.parquet',
  format = 'PARQUET',
  overwrite = TRUE
)
AS
SELECT
  *
FROM
  stream_events
WHERE
  received_on >= @earliest
  AND event_date = @day
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY use_case, user_id, event_date, event_id
    ORDER BY received_at, message_id
  ) = 1
