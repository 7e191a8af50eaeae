-- One row per day of events, but for those that were late: when the newest of their scores
-- was given; of what was scored from a day on.
-- Parameters: @since_day DATE; @lateness_days INT64.
SELECT
  event_date AS day,
  MAX(scored_at) AS newest
FROM
  inference_log
WHERE
  scored_on >= @since_day
  AND event_date >= DATE_SUB(scored_on, INTERVAL @lateness_days DAY)
GROUP BY
  event_date
ORDER BY
  day
