-- One row per user and week: the probability that was published, the newest week and its
-- likeliest user first.
-- Parameters: @use_case STRING; @weeks ARRAY<DATE>.
-- Source: ma_predictions_history.
SELECT
  as_of,
  user_id,
  probability
FROM ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of IN UNNEST(@weeks)
ORDER BY as_of DESC, probability DESC, user_id
