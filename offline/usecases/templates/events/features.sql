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
