-- One row per user whose label is known: the registration has it, and it counts as
-- known @label_known_days later. This is the only statement that reads a label.
-- Parameters: @use_case STRING; @today DATE, the run's as-of date; @label_known_days
--   INT64; @earliest DATE; @first_day_hours INT64.
-- Source: stream_events, the same days as in features.sql.
-- A registration may be sent again once the label is known, under the same event id. The
-- user's first registration with a label counts; where its rows disagree, label 1 does,
-- in whatever order they arrived.
SELECT user_id, label
FROM stream_events
WHERE
  use_case = @use_case
  AND event_type = 'new_registration'
  AND label IS NOT NULL
  AND received_on >= DATE_SUB(@earliest, INTERVAL DIV(@first_day_hours, 24) DAY)
  AND TIMESTAMP_ADD(event_time, INTERVAL @label_known_days * 24 HOUR) <= TIMESTAMP(@today)
QUALIFY ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY event_time, label DESC) = 1
