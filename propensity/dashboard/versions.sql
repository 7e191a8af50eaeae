-- One row per model version that was trained for a day of a span, newest first. One of
-- a past day may be trained later.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  model_version,
  COALESCE(as_of, training_date) AS as_of,
  algorithm,
  roc_auc,
  roc_auc_low,
  roc_auc_high,
  log_loss,
  promoted,
  verdict
FROM ma_model_training_metadata
WHERE
  training_date >= @since
  AND COALESCE(as_of, training_date) <= @until
ORDER BY use_case, model_version DESC
