-- One row per day with a registration.
-- Parameters: @earliest DATE, the first day that a snapshot can read.
-- Sources: stream_events from that day on, and stream_users for what was before.
SELECT
  event_date AS day
FROM
  stream_events
WHERE
  received_on >= @earliest
  AND use_case = 'first_day_churn'
  AND event_type = 'new_registration'
UNION DISTINCT
SELECT
  DATE(registration.registration_time) AS day
FROM
  stream_users
WHERE
  use_case = 'first_day_churn'
  AND registration.registration_time IS NOT NULL
