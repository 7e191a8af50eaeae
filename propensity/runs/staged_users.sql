-- One row per staged score: its user.
-- Parameters: @run_id STRING; @staged_on DATE. Source: ma_predictions_staging.
SELECT
  user_id
FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
