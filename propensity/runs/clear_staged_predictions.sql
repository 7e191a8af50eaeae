-- Remove the predictions that one run staged. Parameters: @run_id STRING; @staged_on DATE.
DELETE FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
