-- One row per user and action of a date and destination: what the ledger has of it;
-- waiting, if the receiver has the user and says later what became of it.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT
  action,
  user_id,
  request,
  IF(status = 'pending' AND receipt IS NOT NULL, 'waiting', status) AS status
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of = @as_of
ORDER BY
  action DESC,
  request,
  user_id
