-- One row per user of the requests that are due, in the order in which they are sent:
-- removals first, and last what was refused before.
-- Source: the session's table due.
SELECT
  action,
  request,
  reason,
  earlier != '' AS may_have_arrived,
  user_id,
  address,
  probability,
  percentile,
  expected_value,
  attributes,
  decile_value
FROM due
WHERE barred = ''
ORDER BY
  action DESC,
  reason != '',
  best DESC,
  first_user,
  request,
  number
