-- One row per user whose label is known: it came with the registration, and counts as
-- known @label_known_days later. This is the only statement that reads a label.
-- Parameters: @today DATE, the run's as-of date; @label_known_days INT64; @earliest DATE.
-- Source: stream_events.
SELECT
  user_id,
  MAX(label) AS label
FROM
  stream_events
WHERE
  use_case = 'first_day_churn'
  AND event_type = 'new_registration'
  AND label IS NOT NULL
  AND received_on >= DATE_SUB(@earliest, INTERVAL DIV(@first_day_hours, 24) DAY)
  AND TIMESTAMP_ADD(event_time, INTERVAL @label_known_days * 24 HOUR) <= TIMESTAMP(@today)
GROUP BY
  user_id
