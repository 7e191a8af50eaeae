-- One row per day of the export, with its events. Reads no column.
-- Source: view ga_events.
SELECT
  PARSE_DATE('%Y%m%d', table_suffix) AS day,
  COUNT(*) AS n_events
FROM
  ga_events
GROUP BY
  day
