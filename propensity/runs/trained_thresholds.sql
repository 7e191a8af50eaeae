-- One row per model version with a threshold that was best on the rows it was chosen on.
-- Parameters: @use_case STRING. Source: ma_model_training_metadata.
SELECT
  model_version,
  MAX(best_threshold) AS best_threshold
FROM
  ma_model_training_metadata
WHERE
  use_case = @use_case
  AND best_threshold IS NOT NULL
GROUP BY
  model_version
