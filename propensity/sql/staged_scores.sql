-- One row: how many scores a run has staged, their mean, and how many are none.
-- Parameters: @run_id STRING; @staged_on DATE. Source: ma_predictions_staging.
SELECT
  COUNT(*) AS users,
  AVG(probability) AS mean_probability,
  COUNTIF(NOT (probability >= 0 AND probability <= 1)) AS not_probabilities
FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
