-- One row per destination, as-of date, action, status and reason: users in the ledger.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_ledger.
SELECT
  destination,
  as_of,
  action,
  status,
  IFNULL(reason, '') AS reason,
  COUNT(*) AS users
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
GROUP BY
  destination,
  as_of,
  action,
  status,
  reason
ORDER BY
  as_of DESC,
  destination,
  action,
  status,
  reason
