-- One row per evaluated week (or day) and model version, the oldest first; version -1 is
-- a week without predictions.
-- Parameters: @use_case STRING; @since DATE and @until DATE, both included.
SELECT * FROM ma_model_evaluation
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
ORDER BY week, model_version
