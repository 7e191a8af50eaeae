-- One row per user and address that a destination may have on the list from before an
-- as-of date; with the further columns that the user was last sent with at the address.
-- Parameters: @use_case, @audience, @destination STRING; @as_of DATE.
-- Source: ma_audience_ledger, ma_audience_members.
WITH
-- include: users_on_lists.sql
SELECT
  l.user_id,
  NULLIF(l.address, '') AS address,
  m.attributes
FROM on_lists AS l
LEFT JOIN ma_audience_members AS m
  ON
    m.user_id = l.user_id
    AND m.as_of = l.as_of
    AND m.use_case = @use_case
    AND m.audience = @audience
WHERE
  l.audience = @audience
  AND l.destination = @destination
ORDER BY user_id, address
