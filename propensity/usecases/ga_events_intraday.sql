-- Part of ga_events: one row per event of the streamed tables, events_intraday_YYYYMMDD,
-- of the days that have no daily table: a property that only streams has no other, and
-- a standard property's daily export stops at a million events a day. Never both.
SELECT
  CONCAT('2', _TABLE_SUFFIX) AS table_suffix,
  streamed.*
FROM
  `events_intraday_2*` AS streamed
WHERE
  _TABLE_SUFFIX BETWEEN '0000000' AND '9999999'
  AND LENGTH(_TABLE_SUFFIX) = 7
  AND CONCAT('events_2', _TABLE_SUFFIX) NOT IN (
    SELECT
      table_name
    FROM
      `INFORMATION_SCHEMA.TABLES`
  )
