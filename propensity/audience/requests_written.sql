-- Write that the requests of a file were taken, once it has all of them.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE; @requests
--   ARRAY<STRING>, their keys; @at TIMESTAMP.
-- Source: ma_audience_requests, whose columns are those that are written.
INSERT INTO ma_audience_requests
SELECT
  * REPLACE (
    'accepted' AS status,
    CAST(NULL AS STRING) AS reason,
    FALSE AS may_have_arrived,
    @at AS recorded_at
  )
FROM ma_audience_requests
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of = @as_of
  AND request IN UNNEST(@requests)
