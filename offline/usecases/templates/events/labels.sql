-- One row per user with label 1 and as-of date; all others of the cohort have label 0.
-- Parameters: @converting_event STRING.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of + @horizon_days), midnight UTC.
SELECT DISTINCT
  as_of,
  user_id
FROM events
WHERE days_ago <= 0${condition}
