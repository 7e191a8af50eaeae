-- part: features
-- One row per user and as-of date: every user with an event in the lookback.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of), midnight UTC: user_id, event_time,
-- event_name, amount, and days_ago, the days from the event to the date, from 1 on.
SELECT
  as_of,
  user_id,
  (UNIX_MICROS(TIMESTAMP(as_of)) - UNIX_MICROS(MAX(event_time))) / 86400e6
    AS recency_days,
  (UNIX_MICROS(TIMESTAMP(as_of)) - UNIX_MICROS(MIN(event_time))) / 86400e6
    AS first_event_days,
  COUNT(DISTINCT EXTRACT(DATE FROM event_time)) AS active_days,
  -- Null where there is one event.
  (UNIX_MICROS(MAX(event_time)) - UNIX_MICROS(MIN(event_time))) / 86400e6
    / NULLIF(COUNT(*) - 1, 0) AS mean_gap_days${columns}${source_columns}
FROM events AS d
${source_join}GROUP BY
  as_of,
  user_id

-- part: labels
-- One row per user with label 1 and as-of date; all others of the cohort have label 0.
-- Parameters: @converting_event STRING.
-- Source: events, which usecase.toml declares. For each date of @as_ofs, as_of, it has the
-- events in [as_of - @lookback_days, as_of + @horizon_days), midnight UTC.
SELECT DISTINCT
  as_of,
  user_id
FROM events
WHERE days_ago <= 0${condition}

-- part: churn
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

-- part: days
-- One row per day with events, and how many.
-- Source: events, which usecase.toml declares: all from two days before the first lookback
-- on.
SELECT
  EXTRACT(DATE FROM event_time) AS day,
  COUNT(*) AS n_events
FROM events
GROUP BY day

-- part: converter_amounts
-- One row per user with label 1 and as-of date: what the outcome was worth.
-- Source: events, as labels.sql reads them.
SELECT
  as_of,
  user_id,
  SUM(amount) AS amount
FROM events
WHERE days_ago <= 0${condition}
GROUP BY as_of, user_id
