-- One row per user who does not come back and as-of date: with an event in the lookback,
-- and none in the horizon. All others of the cohort have label 0.
-- Parameters: @as_ofs ARRAY<DATE>; @lookback_days and @horizon_days INT64; @user_column
--   STRING; @first_suffix and @last_label_suffix STRING, the daily tables that can hold
--   events of the lookbacks and the horizons; and those of persons.sql.
-- Source: view ga_events.
WITH
-- include: persons.sql
  ,
  visits AS (
    SELECT DISTINCT
      user_pseudo_id,
      user_id,
      EXTRACT(DATE FROM event_time) AS day
    FROM ga_events
    WHERE table_suffix BETWEEN @first_suffix AND @last_label_suffix
  ),
  user_days AS (
    SELECT
      as_of,
      day,
-- include: event_person.sql
      AS visitor
    FROM UNNEST(@as_ofs) AS as_of
    INNER JOIN
      visits
      ON
        day >= DATE_SUB(as_of, INTERVAL @lookback_days DAY)
        AND day < DATE_ADD(as_of, INTERVAL @horizon_days DAY)
    LEFT JOIN
      persons
      ON snapshot = as_of AND browser = user_pseudo_id
  )
SELECT
  as_of,
  visitor AS user_id
FROM user_days
WHERE visitor IS NOT NULL
GROUP BY as_of, user_id
HAVING MAX(day) < as_of
