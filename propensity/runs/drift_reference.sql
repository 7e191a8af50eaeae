-- At most one row: the summary of a training that drift is measured from.
-- Parameters: @use_case STRING; @model_version INT64.
-- Source: ma_model_training_metadata.
SELECT
  drift_reference
FROM
  ma_model_training_metadata
WHERE
  use_case = @use_case
  AND model_version = @model_version
LIMIT
  1
