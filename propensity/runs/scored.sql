-- One row: what a run has scored.
-- Parameters: @use_case STRING; @as_of DATE; @run_id STRING.
-- ``active`` counts users with an event in the lookback, ``repeated`` rows of users who have
-- another one; ``quantiles`` are the least probability, the 99 percentiles and the greatest;
-- ``information`` is the sum of p (1 - p).
SELECT
  COUNT(*) AS users,
  COUNTIF(IFNULL(JSON_VALUE(categories, '$.presence'), 'active') != 'away') AS active,
  COUNT(*) - COUNT(DISTINCT user_id) AS repeated,
  AVG(probability) AS mean_probability,
  SUM(probability * (1 - probability)) AS information,
  APPROX_QUANTILES(probability, 100) AS quantiles,
  SUM(expected_value) AS expected_value
FROM ma_predictions_runs
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND run_id = @run_id
