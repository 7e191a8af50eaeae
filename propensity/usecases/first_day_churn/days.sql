-- One row per day with a registration, with how many there are.
-- Parameters: @use_case STRING; @earliest DATE, the first day that a snapshot can read.
-- Sources: stream_events from that day on, and stream_features_daily for what was before.
WITH
  registrations AS (
    SELECT user_id, event_date AS day
    FROM stream_events
    WHERE
      received_on >= @earliest
      AND use_case = @use_case
      AND event_type = 'new_registration'
    UNION DISTINCT
    SELECT
      user_id,
      DATE(registration.registration_time) AS day
    FROM stream_features_daily
    WHERE
      use_case = @use_case
      AND registration.registration_time IS NOT NULL
  )
SELECT
  day,
  COUNT(*) AS n_events
FROM registrations
GROUP BY day
