-- One row per conversion of days to keep: a row of ga_conversions.
-- Parameters: @days ARRAY<DATE>, the days of the export to keep.
-- Source: user_days, the rows of user_days_of_export.sql.
SELECT *
FROM
  (
-- include: conversions_of_export.sql
  )
WHERE export_day IN UNNEST(@days)
