-- One row per audience, destination, as-of date, action and status: users whom the
-- ledger has. Reasons are left out: a receiver's words may name a user.
-- Parameters: @since DATE and @until DATE, both included.
-- Source: ma_audience_ledger.
SELECT
  use_case,
  audience,
  destination,
  as_of,
  action,
  status,
  COUNT(*) AS users
FROM
  ma_audience_ledger
WHERE
  as_of BETWEEN @since AND @until
GROUP BY
  use_case,
  audience,
  destination,
  as_of,
  action,
  status
ORDER BY
  use_case,
  audience,
  as_of DESC,
  destination,
  action,
  status
