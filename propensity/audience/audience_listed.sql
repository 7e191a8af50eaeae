-- One row per user whom a destination may have on the list from before an as-of date:
-- who was added, or may have been, and was not removed since; with the further columns
-- that the user was last sent with.
-- By the time of each row, and not its date: a user who is suppressed and allowed again
-- within a week is removed and added as of one date.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger, ma_audience_members.
WITH
  listed AS (
    SELECT
      user_id,
      MAX(IF(action = 'add', as_of, NULL)) AS as_of
    FROM ma_audience_ledger
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND destination = @destination
      AND as_of < @as_of
      AND (status = 'accepted' OR action = 'add' AND status = 'pending')
    GROUP BY user_id
    HAVING
      MAX(IF(action = 'add', recorded_at, NULL))
      >= IFNULL(
        MAX(IF(action = 'remove', recorded_at, NULL)),
        TIMESTAMP '1970-01-01 00:00:00+00'
      )
  )
SELECT
  l.user_id,
  m.attributes
FROM listed AS l
LEFT JOIN ma_audience_members AS m
  ON
    m.user_id = l.user_id
    AND m.as_of = l.as_of
    AND m.use_case = @use_case
    AND m.audience = @audience
ORDER BY user_id
