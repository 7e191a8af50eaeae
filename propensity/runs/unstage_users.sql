-- Delete the staged scores of some users.
-- Parameters: @run_id STRING; @staged_on DATE; @user_ids ARRAY<STRING>.
-- Source: ma_predictions_staging.
DELETE FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
  AND user_id IN UNNEST(@user_ids)
