-- Remove the evaluations that one run staged. Parameters: @run_id STRING; @staged_on DATE.
DELETE FROM
  ma_model_evaluation_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
