-- One row per member of an audience who was to be treated when chosen, and whom the
-- control group has by now.
-- Parameters: those of audience_scored.sql and of audience_held_out.sql.
-- Source: also ma_audience_members.
WITH
-- include: audience_scored.sql
  ,
-- include: audience_held_out.sql
SELECT m.user_id
FROM ma_audience_members AS m
JOIN held_out AS h
  ON h.user_id = m.user_id
WHERE
  m.use_case = @use_case
  AND m.audience = @audience
  AND m.as_of = @as_of
  AND NOT m.is_control
