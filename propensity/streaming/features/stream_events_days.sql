-- One row per day of events and whether they were late: when the newest of them was
-- received; of what was received from a day on.
-- Parameters: @since_day DATE.
SELECT
  event_date AS day,
  COALESCE(is_late, FALSE) AS is_late,
  MAX(received_at) AS newest
FROM stream_events
WHERE received_on >= @since_day
GROUP BY 1, 2
ORDER BY day
