-- One row per day of events that inference_log has rows of, written since a moment; sorted.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day.
SELECT DISTINCT
  event_date AS day
FROM
  inference_log
WHERE
  scored_on >= @since_day
  AND scored_at >= @since
ORDER BY
  day
