-- One row per user of a publication with a probability or more.
-- Parameters: @use_case STRING; @as_of DATE; @least FLOAT64, that probability.
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
