-- One row: the 101 percentiles of the newest week published before @as_of, and the
-- season's shift in them.
-- Parameters: @use_case STRING; @as_of DATE; @since DATE, the oldest week of interest.
-- Source: ma_predictions_history.
SELECT
  as_of,
  APPROX_QUANTILES(probability, 100) AS quantiles,
  COUNT(*) AS users,
  MAX(log_odds_shift) AS log_odds_shift
FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of >= @since
  AND as_of < @as_of
GROUP BY
  as_of
ORDER BY
  as_of DESC
LIMIT
  1
