-- One row per evaluated week (or day) and model version, the oldest first.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
-- Source: ma_model_evaluation.
SELECT
  *
FROM
  ma_model_evaluation
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
  AND model_version >= 0
ORDER BY
  week,
  model_version
