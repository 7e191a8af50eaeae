-- One row per user of whom a destination says later what became of it, as of any date.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE, the newest one.
-- Source: ma_audience_ledger.
SELECT
  as_of,
  action,
  user_id,
  request,
  receipt
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of <= @as_of
  AND status = 'pending'
  AND receipt IS NOT NULL
