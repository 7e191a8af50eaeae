-- One row per user who stays away and as-of date: with an event in the lookback, and none
-- (or none that is predicted) in the horizon. All others of the cohort have label 0.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of + @horizon_days), midnight UTC.
SELECT
  as_of,
  user_id
FROM events
GROUP BY as_of, user_id
HAVING
  MAX(days_ago) > 0
  AND COUNTIF(days_ago <= 0${condition}) = 0
