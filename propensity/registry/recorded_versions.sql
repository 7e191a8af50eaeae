-- One row per recorded version, newest first: what it achieved, and the verdict.
-- Parameters: @use_case STRING; @at_most INT64. Source: ma_model_training_metadata.
SELECT
  model_version,
  as_of,
  algorithm,
  is_warm,
  roc_auc,
  pr_auc,
  log_loss,
  verdict
FROM ma_model_training_metadata
WHERE use_case = @use_case
ORDER BY model_version DESC
LIMIT @at_most
