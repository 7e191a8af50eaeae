-- Part of requests_to_add.sql and requests_to_remove.sql: what the log has of the users of
-- an action, as of a date.
-- Parameters: @use_case, @audience, @destination, @action STRING; @as_of DATE.
-- Source: ma_audience_ledger.
  recorded AS (
    SELECT
      request,
      user_id,
      address,
      status,
      reason,
      may_have_arrived,
      receipt
    FROM ma_audience_ledger
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND destination = @destination
      AND as_of = @as_of
      AND action = @action
  )
