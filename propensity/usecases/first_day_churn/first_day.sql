-- One row: the day of the first registration, null without any.
-- Source: stream_events.
SELECT
  MIN(event_date) AS first_day
FROM
  stream_events
WHERE
  received_on >= DATE '1970-01-01'
  AND use_case = 'first_day_churn'
  AND event_type = 'new_registration'
