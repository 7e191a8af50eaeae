-- One row per user, as-of date, destination and action: the newest of the ledger.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_ledger.
SELECT
  *
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY as_of, destination, action, user_id
    ORDER BY IF(status = 'pending', 1, 0), recorded_at DESC
  ) = 1
