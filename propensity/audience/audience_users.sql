-- One row per user of a publication or of the members of its date.
-- Parameters: @use_case, @audience STRING; @as_of DATE.
-- Source: ma_predictions_history, ma_audience_members.
SELECT user_id
FROM ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of = @as_of
UNION DISTINCT
SELECT user_id
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of = @as_of
