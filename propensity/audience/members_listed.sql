-- One row per member who is treated, the best first; without those whom a destination has
-- rejected, who have unsubscribed there for example, and not taken since.
-- Parameters: @use_case, @audience STRING.
-- Source: the session's table chosen, and ma_audience_ledger.
SELECT
  user_id,
  probability,
  percentile,
  expected_value,
  attributes,
  decile_value
FROM chosen
WHERE
  is_member
  AND NOT is_control
  AND user_id NOT IN (
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
  )
ORDER BY
  `order` DESC,
  user_id
