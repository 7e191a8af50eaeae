-- One row per as-of date, action and request that a destination works on later: the users
-- of it who are in the ledger.
-- Parameters: @use_case, @audience, @destination STRING; @since DATE, included.
-- Source: ma_audience_ledger.
SELECT
  as_of,
  action,
  receipt,
  COUNT(*) AS users
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of >= @since
  AND receipt IS NOT NULL
GROUP BY
  as_of,
  action,
  receipt
ORDER BY
  as_of DESC,
  action,
  receipt
