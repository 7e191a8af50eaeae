-- One row per audience, destination, as-of date and action, newest first: users by
-- status. Those of whom the receiver says later what became are not pending: no one has
-- to act. Reasons are left out: a receiver's words may name a user.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  audience,
  destination,
  as_of,
  action,
  COUNTIF(status = 'accepted') AS accepted,
  COUNTIF(status = 'rejected') AS rejected,
  COUNTIF(status = 'pending' AND receipt IS NULL) AS pending
FROM ma_audience_ledger
WHERE as_of BETWEEN @since AND @until
GROUP BY use_case, audience, destination, as_of, action
ORDER BY as_of DESC, use_case, audience, destination, action
