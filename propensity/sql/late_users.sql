-- One row per user with an event that was late and came since a moment.
-- Parameters: @use_case STRING; @since TIMESTAMP; @since_day DATE, its day.
-- Source: stream_events.
SELECT DISTINCT
  user_id
FROM
  stream_events
WHERE
  use_case = @use_case
  AND received_on >= @since_day
  AND received_at >= @since
  AND is_late
  AND
-- include: measured_events.sql
