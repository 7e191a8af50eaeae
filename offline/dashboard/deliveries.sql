-- One row per audience, destination, as-of date and action, newest first: users by their
-- newest status. Reasons are left out: a receiver's words may name a user.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  audience,
  destination,
  as_of,
  action,
  COUNTIF(status = 'accepted') AS accepted,
  COUNTIF(status = 'rejected') AS rejected,
  COUNTIF(status = 'pending') AS pending
FROM
  (
    SELECT
      *
    FROM ma_audience_ledger
    WHERE
      as_of BETWEEN @since AND @until
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY use_case, audience, destination, as_of, action, user_id
        ORDER BY IF(status = 'pending', 1, 0), recorded_at DESC
      ) = 1
  ) AS newest
GROUP BY use_case, audience, destination, as_of, action
ORDER BY as_of DESC, use_case, audience, destination, action
