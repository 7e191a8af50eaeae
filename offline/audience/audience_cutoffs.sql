-- One row per percentile of a publication: how many users, and their least probability.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_predictions_history.
SELECT
  percentile,
  COUNT(*) AS users,
  MIN(probability) AS least
FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of
GROUP BY
  percentile
ORDER BY
  percentile DESC
