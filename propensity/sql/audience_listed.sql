-- One row per user whom a destination has on the list from before an as-of date: who was
-- accepted, and not removed since.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT
  user_id
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of < @as_of
  AND status = 'accepted'
GROUP BY
  user_id
HAVING
  MAX(IF(action = 'add', as_of, NULL))
  > IFNULL(MAX(IF(action = 'remove', as_of, NULL)), DATE '1970-01-01')
