-- One row per day of the export. Reads table names alone.
-- Source: view ga_events.
SELECT DISTINCT
  PARSE_DATE('%Y%m%d', table_suffix) AS day
FROM
  ga_events
