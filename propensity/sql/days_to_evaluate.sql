-- One row per day on which an event was scored, and whose figures are not final.
-- Parameters: @use_case STRING; @since DATE, the oldest day of interest; @until DATE, the
--   newest one.
-- Source: inference_log, ma_model_evaluation.
SELECT
  begun.week
FROM
  (
    SELECT DISTINCT
      event_date AS week
    FROM
      inference_log
    WHERE
      use_case = @use_case
      AND scored_on >= DATE_SUB(@since, INTERVAL 1 DAY)
      AND event_date BETWEEN @since AND @until
      AND COALESCE(source, 'stream') != 'loaded'
  ) AS begun
-- include: without_final_figures.sql
