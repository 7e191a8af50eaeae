-- One row: the first day of the export, null without any. Reads table names alone.
-- Source: view ga_events.
SELECT
  PARSE_DATE('%Y%m%d', MIN(table_suffix)) AS first_day
FROM
  ga_events
