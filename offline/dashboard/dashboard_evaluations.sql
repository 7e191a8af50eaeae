-- One row per evaluated week, or day of events, and model version, newest first.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
-- Source: ma_model_evaluation.
SELECT
  use_case,
  week,
  week_end,
  model_version,
  prediction_as_of,
  status,
  outcome,
  evaluated_at,
  users,
  conversions,
  base_rate,
  mean_probability,
  roc_auc,
  roc_auc_low,
  roc_auc_high,
  pr_auc,
  pr_auc_low,
  pr_auc_high,
  log_loss,
  calibration_error,
  lift,
  best_threshold,
  users_at_best,
  precision_at_best,
  recall_at_best,
  budget,
  users_at_budget,
  true_positives_at_budget,
  precision_at_budget,
  recall_at_budget,
  lift_at_budget,
  review_cost,
  alert_threshold,
  alerted,
  alerted_conversions,
  cost,
  cost_without,
  saved,
  value_promised,
  value_observed,
  unscored_converters,
  unknown_outcomes,
  conflicting_outcomes,
  bytes_billed
FROM
  ma_model_evaluation
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY
  use_case,
  week DESC,
  model_version DESC
