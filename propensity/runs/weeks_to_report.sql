-- One row per evaluated week (or day) and model version: the figures that a report
-- compares week over week, the oldest first.
-- Parameters: @use_case STRING; @since DATE, the oldest week; @until DATE, the newest.
-- Source: ma_model_evaluation.
SELECT
  week,
  model_version,
  status,
  users,
  base_rate,
  mean_probability,
  roc_auc,
  roc_auc_low,
  roc_auc_high,
  pr_auc,
  brier,
  log_loss,
  calibration_error,
  lift_at_budget,
  saved,
  unscored_converters
FROM
  ma_model_evaluation
WHERE
  use_case = @use_case
  AND week BETWEEN @since AND @until
  AND model_version >= 0
ORDER BY
  week,
  model_version
