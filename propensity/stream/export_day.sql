-- Write a day of what was chosen to Parquet files; a statement of the script that
-- export_stream_events.sql or export_inference_log.sql begins.
-- An option takes no parameter, so that the compaction puts its own target in the place of
-- the uri, and the day beside it.
-- Source: chosen, a temporary table.
EXPORT DATA
OPTIONS (
  uri = 'gs://bucket/folder/part-*.parquet',
  format = 'PARQUET',
  overwrite = TRUE
)
AS
SELECT * FROM chosen
WHERE event_date = DATE '1970-01-01';
