-- One row per date of which users are on a list: the columns that one was sent with.
-- Parameters: @use_case, @audience, @destination STRING.
-- Source: ma_audience_lists, ma_audience_members.
SELECT
  m.as_of,
  MAX(m.attributes) AS attributes
FROM ma_audience_members AS m
JOIN ma_audience_lists AS l
  ON l.user_id = m.user_id AND l.as_of = m.as_of
WHERE
  m.use_case = @use_case
  AND m.audience = @audience
  AND l.use_case = @use_case
  AND l.audience = @audience
  AND l.destination = @destination
GROUP BY m.as_of
