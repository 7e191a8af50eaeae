-- Export the scores given to a day's events, each once, to Parquet files.
-- Parameters: @uri STRING, gs://... with one *; @day DATE; @earliest DATE, the first day
--   on which an event of that day can have been scored.
-- Source: inference_log.
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
  inference_log
WHERE
  scored_on >= @earliest
  AND event_date = @day
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY inference_id ORDER BY scored_at) = 1
