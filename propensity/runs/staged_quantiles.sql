-- One row: the 101 percentiles, least to greatest, of one run's staged probabilities, and
-- how many of them are of users who have another one.
-- Parameters: @run_id STRING; @staged_on DATE. Source: ma_predictions_staging.
SELECT
  APPROX_QUANTILES(probability, 100) AS quantiles,
  COUNT(*) AS users,
  COUNT(*) - COUNT(DISTINCT user_id) AS repeated
FROM
  ma_predictions_staging
WHERE
  staged_on = @staged_on
  AND run_id = @run_id
