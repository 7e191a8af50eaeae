-- Part of audience_listed.sql and audience_lists.sql: users whom a destination may have
-- on the list from before an as-of date, with the date of the last addition: who was
-- added, or may have been, and was not removed since. Who is rejected may have arrived by
-- an earlier try, which was not answered.
-- Of one date a removal comes before an addition, unless the user was suppressed since:
-- while the removal is pending, an addition that is pending was not sent. What else is
-- pending may have arrived whenever.
-- Parameters: @use_case STRING; @as_of DATE.
-- Source: ma_audience_ledger.
  removed AS (
    SELECT
      audience,
      destination,
      user_id,
      MAX(as_of) AS as_of,
      MAX(recorded_at) AS recorded_at
    FROM ma_audience_ledger
    WHERE
      use_case = @use_case
      AND as_of < @as_of
      AND action = 'remove'
      AND status = 'accepted'
    GROUP BY audience, destination, user_id
  ),
  on_lists AS (
    SELECT
      a.audience,
      a.destination,
      a.user_id,
      MAX(a.as_of) AS as_of
    FROM ma_audience_ledger AS a
    LEFT JOIN removed AS r
      ON
        r.audience = a.audience
        AND r.destination = a.destination
        AND r.user_id = a.user_id
    LEFT JOIN ma_audience_ledger AS p
      ON
        p.use_case = a.use_case
        AND p.audience = a.audience
        AND p.destination = a.destination
        AND p.as_of = a.as_of
        AND p.user_id = a.user_id
        AND p.action = 'remove'
        AND p.status = 'pending'
    WHERE
      a.use_case = @use_case
      AND a.as_of < @as_of
      AND a.action = 'add'
      AND (
        a.status = 'accepted'
        OR a.may_have_arrived
        OR a.status = 'pending' AND (p.user_id IS NULL OR p.receipt IS NOT NULL)
      )
      AND (
        r.user_id IS NULL
        OR a.as_of > r.as_of
        OR a.as_of = r.as_of AND (a.status = 'pending' OR a.recorded_at >= r.recorded_at)
      )
    GROUP BY a.audience, a.destination, a.user_id
  )
