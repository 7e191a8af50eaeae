-- One row: how many scores a run has staged, and their mean.
-- Parameters: @run_id STRING; @staged_on DATE. Source: ma_predictions_staging.
SELECT
  COUNT(*) AS users,
  AVG(probability) AS mean_probability
FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
