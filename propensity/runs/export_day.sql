-- Write a day of what was chosen to Parquet files; a statement of the script that
-- export_stream_events.sql or export_inference_log.sql begins.
-- Parts, since an option takes no parameter: the folder, and the day.
-- Source: chosen, a temporary table.
EXPORT DATA
OPTIONS (
  uri = '`target`part-*.parquet',
  format = 'PARQUET',
  overwrite = TRUE
)
AS
SELECT * FROM chosen
WHERE event_date = `day`
