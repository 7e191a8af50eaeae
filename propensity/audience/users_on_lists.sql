-- Part of audience_listed.sql and audience_lists.sql: users whom a destination may have
-- on the list from before an as-of date, once for each address, with the date of its
-- last addition: what was added, or may have been, and was not removed since. What is
-- pending may have arrived, and so may what is rejected, by an earlier try that was not
-- answered. Of one date a removal comes before an addition, unless the user was
-- suppressed since.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_audience_ledger.
  removed AS (
    SELECT
      audience,
      destination,
      user_id,
      IFNULL(address, '') AS address,
      MAX(as_of) AS as_of,
      MAX(recorded_at) AS recorded_at
    FROM ma_audience_ledger
    WHERE
      use_case = @use_case
      AND as_of < @as_of
      AND action = 'remove'
      AND status = 'accepted'
    GROUP BY 1, 2, 3, 4
  ),
  on_lists AS (
    SELECT
      a.audience,
      a.destination,
      a.user_id,
      IFNULL(a.address, '') AS address,
      MAX(a.as_of) AS as_of
    FROM ma_audience_ledger AS a
    LEFT JOIN removed AS r
      ON
        r.audience = a.audience
        AND r.destination = a.destination
        AND r.user_id = a.user_id
        AND r.address = IFNULL(a.address, '')
    WHERE
      a.use_case = @use_case
      AND a.as_of < @as_of
      AND a.action = 'add'
      AND (a.status IN ('accepted', 'pending') OR a.may_have_arrived)
      AND (
        r.user_id IS NULL
        OR a.as_of > r.as_of
        OR a.as_of = r.as_of AND (a.status = 'pending' OR a.recorded_at >= r.recorded_at)
      )
    GROUP BY 1, 2, 3, 4
  )
