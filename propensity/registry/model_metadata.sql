-- At most one row: what was recorded of one model version.
-- Parameters: @use_case STRING; @model_version INT64.
-- Source: ma_model_training_metadata.
SELECT
  model_version,
  training_date,
  as_of,
  algorithm,
  model_object,
  model_sha256,
  preprocessor_object,
  preprocessor_sha256,
  is_warm,
  roc_auc,
  alert_threshold,
  promoted,
  compared_version,
  verdict,
  card
FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND model_version = @model_version
LIMIT 1
