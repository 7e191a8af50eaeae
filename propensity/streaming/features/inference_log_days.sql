-- One row per day of events and whether they were late: when the newest of their scores
-- was given; of what was scored from a day on.
-- Parameters: @since_day DATE; @lateness_days INT64.
SELECT
  event_date AS day,
  event_date < DATE_SUB(scored_on, INTERVAL @lateness_days DAY) AS is_late,
  MAX(scored_at) AS newest
FROM inference_log
WHERE scored_on >= @since_day
GROUP BY 1, 2
ORDER BY day
