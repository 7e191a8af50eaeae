-- One row per day of arrival and day of events that stream_events got rows of since a
--   moment, and whether these are late; sorted.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
SELECT DISTINCT
  received_on,
  event_date AS day,
  is_late IS TRUE AS is_late
FROM
  stream_events
WHERE
  received_on >= @since_day
  AND received_at >= @since
ORDER BY
  received_on,
  day,
  is_late
