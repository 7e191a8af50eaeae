-- One row per day of events that inference_log got scores of since a moment, but for
--   events that were late; sorted.
-- Parameters: @since TIMESTAMP; @since_day DATE, its day; @lateness_days INT64.
SELECT DISTINCT
  event_date AS day
FROM
  inference_log
WHERE
  scored_on >= @since_day
  AND scored_at >= @since
  AND event_date >= DATE_SUB(scored_on, INTERVAL @lateness_days DAY)
ORDER BY
  day
