-- One row per user whom a destination may have on the list from before an as-of date:
-- who was added, or may have been, and was not removed since.
-- By the time of each row, and not its date: a user who is suppressed and allowed again
-- within a week is removed and added as of one date.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT
  user_id
FROM
  ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of < @as_of
  AND (status = 'accepted' OR action = 'add' AND status = 'pending')
GROUP BY
  user_id
HAVING
  MAX(IF(action = 'add', recorded_at, NULL))
  >= IFNULL(
    MAX(IF(action = 'remove', recorded_at, NULL)),
    TIMESTAMP '1970-01-01 00:00:00+00'
  )
ORDER BY
  user_id
