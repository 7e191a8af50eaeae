-- One row per user and action that the ledger has of an audience's as-of date.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT DISTINCT
  action,
  user_id
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of = @as_of
