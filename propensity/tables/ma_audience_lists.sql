-- View: one row per addition of a user to a list, by address, as long as the user may be
-- there. What we cannot know is on the list: what is pending may have arrived, and so may
-- what is rejected, by an earlier try that was not answered. Only a removal that was
-- accepted takes somebody off. Of one date a removal comes before an addition, unless the
-- user was suppressed since.
-- Source: ma_audience_requests, as ma_audience_ledger has it.
WITH
  ledger AS (
    -- include: ma_audience_ledger.sql
  ),
  removed AS (
    SELECT
      use_case,
      audience,
      destination,
      user_id,
      IFNULL(address, '') AS address,
      MAX(as_of) AS as_of,
      MAX(recorded_at) AS recorded_at
    FROM ledger
    WHERE
      action = 'remove'
      AND status = 'accepted'
    GROUP BY 1, 2, 3, 4, 5
  )
SELECT
  a.use_case,
  a.audience,
  a.destination,
  a.user_id,
  a.address,
  a.as_of
FROM ledger AS a
LEFT JOIN removed AS r
  ON
    r.use_case = a.use_case
    AND r.audience = a.audience
    AND r.destination = a.destination
    AND r.user_id = a.user_id
    AND r.address = IFNULL(a.address, '')
WHERE
  a.action = 'add'
  AND (a.status IN ('accepted', 'pending') OR a.may_have_arrived)
  AND (
    r.user_id IS NULL
    OR a.as_of > r.as_of
    OR a.as_of = r.as_of AND (a.status = 'pending' OR a.recorded_at >= r.recorded_at)
  )
