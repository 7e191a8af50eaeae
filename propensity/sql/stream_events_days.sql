-- One row per day of events that stream_events has rows of, written since a moment; sorted.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
SELECT DISTINCT
  event_date AS day
FROM
  stream_events
WHERE
  received_on >= @since_day
  AND received_at >= @since
ORDER BY
  day
