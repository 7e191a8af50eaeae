-- One row per day with events, and how many.
-- Source: events, which usecase.toml declares: all from two days before the first lookback
-- on.
SELECT
  EXTRACT(DATE FROM event_time) AS day,
  COUNT(*) AS n_events
FROM events
GROUP BY day
