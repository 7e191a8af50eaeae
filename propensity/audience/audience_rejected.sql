-- One row per user of an audience whom a destination has rejected, who has unsubscribed
-- there for example, and not taken since.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_ledger.
SELECT user_id
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND audience = @audience
  AND action = 'add'
  AND status IN ('accepted', 'rejected')
GROUP BY user_id
HAVING
  MAX(IF(status = 'rejected', as_of, NULL))
  > IFNULL(MAX(IF(status = 'accepted', as_of, NULL)), DATE '1970-01-01')
