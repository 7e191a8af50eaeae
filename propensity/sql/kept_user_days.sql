-- Part of a query: one row per day of the GA4 export, user and UTC day, as it is kept,
-- with the suffix of the day's table.
-- Parameters: @use_case STRING; @first_shard and @last_shard DATE, days of the export.
-- Source: export_user_days.
SELECT
  FORMAT_DATE('%Y%m%d', shard) AS table_suffix,
-- include: user_day_columns.sql
FROM
  export_user_days
WHERE
  shard BETWEEN @first_shard AND @last_shard
  AND use_case = @use_case
  AND user_id IS NOT NULL
