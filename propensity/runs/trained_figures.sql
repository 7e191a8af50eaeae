-- One row per model version: what its training measured on rows held out.
-- Parameters: @use_case STRING; @model_versions ARRAY<INT64>, those of interest.
-- Source: ma_model_training_metadata.
SELECT
  model_version,
  roc_auc,
  roc_auc_low,
  roc_auc_high,
  pr_auc,
  brier,
  log_loss,
  calibration_error,
  lift_at_budget
FROM
  ma_model_training_metadata
WHERE
  use_case = @use_case
  AND model_version IN UNNEST(@model_versions)
