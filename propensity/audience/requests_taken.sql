-- One row per action of which a destination has taken a request as of a date.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT DISTINCT action
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of = @as_of
  AND (status = 'accepted' OR receipt IS NOT NULL)
