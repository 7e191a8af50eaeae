-- Open the requests that are due and have no row yet, as rows of at most so many users,
-- which are pending; and write who may not be sent any more, with the reason.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE; @at TIMESTAMP;
--   @users_of_a_row INT64.
-- Source: the session's table due.
INSERT INTO ma_audience_requests (
  use_case,
  audience,
  as_of,
  destination,
  action,
  request,
  status,
  reason,
  may_have_arrived,
  recorded_at,
  recipients
)
SELECT
  @use_case,
  @audience,
  @as_of,
  @destination,
  action,
  request,
  IF(barred = '', 'pending', 'rejected'),
  NULLIF(IF(barred = '', reason, barred), ''),
  earlier != '',
  @at,
  ARRAY_AGG(STRUCT(user_id, address) ORDER BY number)
FROM due
WHERE
  barred != ''
  OR request != earlier
GROUP BY
  action,
  request,
  barred,
  reason,
  earlier,
  DIV(number, @users_of_a_row)
