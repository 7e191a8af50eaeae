-- One row per conversion of days to keep, a purchase, refund or event that a use case
-- predicts: a row of ga_conversions. Those of nobody known are there, those without a time
-- are not. Each is joined with its array, so days without one are left out first.
-- Parameters: @days ARRAY<DATE>, the days of the export to keep.
-- Source: user_days, the rows of user_days_of_export.sql.
SELECT *
FROM
  (
SELECT
  d.export_day,
  c.*
FROM user_days AS d
CROSS JOIN UNNEST(d.conversions) AS c
WHERE d.has_consent AND d.day IS NOT NULL AND ARRAY_LENGTH(d.conversions) > 0
  )
WHERE export_day IN UNNEST(@days)
