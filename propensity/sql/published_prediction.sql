-- At most one row: a user's probability as it was published.
-- Parameters: @use_case, @user_id STRING; @as_of DATE.
-- Source: ma_predictions_history.
SELECT
  *
FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND user_id = @user_id
LIMIT
  1
