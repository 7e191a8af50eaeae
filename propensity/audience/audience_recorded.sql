-- One row per user and action of an as-of date and destination, and per user of earlier
-- dates of whom the receiver says later what became: what the ledger has of it.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT *
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  -- Receivers do not say it any more after that.
  AND as_of BETWEEN DATE_SUB(@as_of, INTERVAL 60 DAY) AND @as_of
  AND (as_of = @as_of OR status = 'pending' AND receipt IS NOT NULL)
ORDER BY
  action DESC,
  request,
  user_id
