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
FROM (
  SELECT
    *
  FROM
    ma_audience_ledger
  WHERE
    as_of BETWEEN @since AND @until
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY use_case, audience, destination, as_of, action, user_id
      ORDER BY IF(status = 'pending', 1, 0), recorded_at DESC
    ) = 1
)
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
