-- A few rows per as-of date and destination of an audience: whether it has taken a request,
-- or will say what became of one. The lists of users, most of the log, are not read.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_requests.
SELECT DISTINCT
  as_of,
  destination,
  status = 'accepted'
  OR status = 'pending'
  AND receipt IS NOT NULL
  AND recorded_at = MAX(recorded_at) OVER (
    PARTITION BY as_of, destination, action, request
  ) AS is_taken
FROM ma_audience_requests
WHERE
  use_case = @use_case
  AND audience = @audience
