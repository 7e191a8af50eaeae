-- One row per user who was contacted: the first date.
-- Parameters: @use_case STRING.
-- Source: ma_audience_ledger.
SELECT
  user_id,
  MIN(as_of) AS as_of
FROM ma_audience_ledger
WHERE
  use_case = @use_case
  AND action = 'add'
  AND status = 'accepted'
GROUP BY user_id
