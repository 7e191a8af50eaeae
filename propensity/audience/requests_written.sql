-- Write that the requests of a file were taken, once it has all of them.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE; @requests
--   ARRAY<STRING>, their keys; @at TIMESTAMP.
-- Source: ma_audience_requests.
INSERT INTO ma_audience_requests (
  use_case,
  audience,
  as_of,
  destination,
  action,
  request,
  status,
  may_have_arrived,
  recorded_at,
  recipients
)
SELECT
  use_case,
  audience,
  as_of,
  destination,
  action,
  request,
  'accepted',
  FALSE,
  @at,
  recipients
FROM ma_audience_requests
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of = @as_of
  AND request IN UNNEST(@requests)
