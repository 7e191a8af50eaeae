-- One row per week: what 03-ModelEvaluation has of it.
-- Parameters: @use_case STRING; @weeks ARRAY<DATE>.
-- Source: ma_model_evaluation.
SELECT *
FROM ma_model_evaluation
WHERE
  use_case = @use_case
  AND week IN UNNEST(@weeks)
ORDER BY week
