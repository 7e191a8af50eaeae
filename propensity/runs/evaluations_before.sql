-- One row per evaluated week and model version: its status and threshold, and how many
-- users were at or above each of many thresholds.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest.
-- Source: ma_model_evaluation.
SELECT
  week,
  week_end,
  model_version,
  status,
  best_threshold,
  thresholds
FROM
  ma_model_evaluation
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
  AND model_version >= 0
