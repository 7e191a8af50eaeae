-- One row per user of a publication, the best first: those with a probability or more
-- and above a percentile, at most so many.
-- Parameters: @use_case STRING; @as_of DATE; @least FLOAT64, that probability; @above
--   INT64, that percentile; @most INT64.
-- Source: ma_predictions_history.
SELECT
  user_id,
  probability
FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND probability >= @least
  AND IFNULL(percentile, 1) > @above
ORDER BY
  probability DESC,
  user_id
LIMIT @most
