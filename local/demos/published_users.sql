-- One row per user: the probability that was published, the likeliest first.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_predictions_history.
SELECT
  user_id,
  probability
FROM ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of
ORDER BY probability DESC, user_id
