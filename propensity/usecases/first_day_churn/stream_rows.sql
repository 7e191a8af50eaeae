-- One row per user: features as they are now, and from when until when the user is scored.
-- The hours are those of the newest event; a score of a later moment says its own.
-- Parameters: @use_case STRING; @user_ids ARRAY<STRING>; @first_event_day DATE, of the
--   events to be scored; @first_day_hours INT64; those of the use case.
-- Source: stream_events, and stream_features_daily for who had registered before, in the
--   month of the events or in the one before: two years would be read for each
--   group of events. Who comes back after that is new once more, but in no training.
-- A user whose first day is not over has registered within its hours before the event,
-- and what happened since was received a day before it happened at the earliest, by a
-- clock that is wrong. So no earlier day is read, however long the history.
WITH
  moments AS (
    SELECT 0 AS number
  ),
  chosen AS (
    SELECT * FROM stream_events
    WHERE
      use_case = @use_case
      AND user_id IN UNNEST(@user_ids)
      AND received_on >= DATE_SUB(
        @first_event_day,
        INTERVAL DIV(@first_day_hours + 47, 24) DAY
      )
  ),
  earlier AS (
    SELECT user_id, registration.registration_time AS registration_time
    FROM stream_features_daily
    WHERE
      use_case = @use_case
      AND user_id IN UNNEST(@user_ids)
      AND month >= DATE_SUB(DATE_TRUNC(@first_event_day, MONTH), INTERVAL 1 MONTH)
      AND registration.registration_time IS NOT NULL
  ),
-- include: first_day_features.sql
SELECT
  * REPLACE (
    TIMESTAMP_DIFF(newest_event, scored_from, MICROSECOND) / 3.6e9
      AS hours_since_registration
  )
FROM first_day_features
