-- One row per table of the export, browser, user id and UTC day of a No: a row of
-- ga_refusals. Only who and the day are kept, where no Yes of theirs follows on that day.
-- Parameters: @days ARRAY<DATE>, the days of the export to keep.
-- Source: user_days, the rows of user_days_of_export.sql.
SELECT
  export_day,
  user_pseudo_id,
  user_id,
  day
FROM user_days
WHERE
  export_day IN UNNEST(@days)
  AND day IS NOT NULL
  AND COALESCE(user_pseudo_id, user_id) IS NOT NULL
GROUP BY export_day, user_pseudo_id, user_id, day
HAVING
  MAX(IF(has_consent, NULL, last_event))
  >= COALESCE(MAX(IF(has_consent, last_event, NULL)), MIN(last_event))
