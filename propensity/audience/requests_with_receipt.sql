-- One row per user of whom a destination has yet to say what became, as of a date and the
-- 60 days before; receivers do not say it any more after that.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger.
SELECT
  as_of,
  action,
  request,
  receipt,
  IFNULL(may_have_arrived, FALSE) AS may_have_arrived,
  user_id,
  address
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND destination = @destination
  AND as_of BETWEEN DATE_SUB(@as_of, INTERVAL 60 DAY) AND @as_of
  AND status = 'pending'
  AND receipt IS NOT NULL
ORDER BY
  as_of,
  action,
  request,
  receipt,
  may_have_arrived,
  user_id
