-- One row per destination, as-of date, action, status and reason: users in the ledger;
-- waiting, if the receiver has them and says later what became of them.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_ledger.
SELECT
  destination,
  as_of,
  action,
  IF(status = 'pending' AND receipt IS NOT NULL, 'waiting', status) AS status,
  IFNULL(reason, '') AS reason,
  COUNT(*) AS users
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
GROUP BY ALL
ORDER BY
  as_of DESC,
  destination,
  action,
  status,
  reason
