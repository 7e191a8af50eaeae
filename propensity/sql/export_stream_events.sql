-- Export a day's events, each once, to Parquet files.
-- Parameters: @uri STRING, gs://... with one *; @day DATE; @earliest DATE, the first day
--   on which an event of that day can have been received.
-- Source: stream_events.
DECLARE target STRING DEFAULT @uri;
EXPORT DATA
OPTIONS (
  uri = target,
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
