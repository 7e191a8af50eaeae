-- Export the scores given to a day's events, each once, to Parquet files.
-- Parameters: @day DATE; @earliest DATE, the first day on which an event of that day can
--   have been scored. An option takes no parameter, so that the compaction puts its own
--   target in the place of the uri.
-- Source: inference_log.
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
  inference_log
WHERE
  scored_on >= @earliest
  AND event_date = @day
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY inference_id ORDER BY scored_at) = 1
