-- One row per day of the export, with its events. Reads no column.
-- Parameters: @earliest DATE, the first day that a snapshot can read.
SELECT
  PARSE_DATE('%Y%m%d', table_suffix) AS day,
  COUNT(*) AS n_events
FROM ga_events
WHERE table_suffix >= FORMAT_DATE('%Y%m%d', @earliest)
GROUP BY day
