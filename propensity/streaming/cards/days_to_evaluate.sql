-- One row per day on which an event was scored, and whose metrics are not final.
-- Parameters: @use_case STRING; @since DATE, the oldest day of interest; @until DATE, the
--   newest one.
SELECT DISTINCT event_date AS week
FROM inference_log
WHERE
  use_case = @use_case
  AND scored_on >= DATE_SUB(@since, INTERVAL 1 DAY)
  AND event_date BETWEEN @since AND @until
  AND COALESCE(source, 'stream') != 'loaded'
  AND event_date NOT IN (
    SELECT week
    FROM ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND status = 'final'
      AND model_version >= 0
  )
