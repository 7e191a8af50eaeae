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
  CAST(JSON_VALUE(metrics, '$.pr_auc_low') AS FLOAT64) AS pr_auc_low,
  CAST(JSON_VALUE(metrics, '$.pr_auc_high') AS FLOAT64) AS pr_auc_high,
  log_loss,
  calibration_error,
  lift,
  best_threshold,
  CAST(JSON_VALUE(metrics, '$.users_at_best') AS INT64) AS users_at_best,
  CAST(JSON_VALUE(metrics, '$.precision_at_best') AS FLOAT64) AS precision_at_best,
  CAST(JSON_VALUE(metrics, '$.recall_at_best') AS FLOAT64) AS recall_at_best,
  budget,
  CAST(JSON_VALUE(metrics, '$.users_at_budget') AS FLOAT64) AS users_at_budget,
  CAST(JSON_VALUE(metrics, '$.true_positives_at_budget') AS FLOAT64) AS true_positives_at_budget,
  precision_at_budget,
  recall_at_budget,
  lift_at_budget,
  CAST(JSON_VALUE(metrics, '$.review_cost') AS NUMERIC) AS review_cost,
  alert_threshold,
  CAST(JSON_VALUE(metrics, '$.alerted') AS INT64) AS alerted,
  CAST(JSON_VALUE(metrics, '$.alerted_conversions') AS INT64) AS alerted_conversions,
  CAST(JSON_VALUE(metrics, '$.cost') AS NUMERIC) AS cost,
  CAST(JSON_VALUE(metrics, '$.cost_without') AS NUMERIC) AS cost_without,
  saved,
  value_promised,
  value_observed,
  unscored_converters,
  CAST(JSON_VALUE(metrics, '$.unknown_outcomes') AS INT64) AS unknown_outcomes,
  CAST(JSON_VALUE(metrics, '$.conflicting_outcomes') AS INT64) AS conflicting_outcomes,
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
