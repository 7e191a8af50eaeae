-- One row per member of an audience, as stored, with what is known by now: whether the
-- audience's own statement still has the user, and whether the control group does.
-- Parameters: those of audience_scored.sql and of audience_held_out.sql.
-- Source: also ma_audience_members.
WITH
-- include: audience_scored.sql
  ,
-- include: audience_held_out.sql
SELECT
  m.user_id,
  m.probability,
  m.percentile,
  m.expected_value,
  m.is_control,
  m.attributes,
  m.decile_value,
  m.effect,
  m.is_explored,
  s.user_id IS NOT NULL AS is_eligible,
  h.user_id IS NOT NULL AND NOT m.is_control AS is_newly_held_out
FROM ma_audience_members AS m
LEFT JOIN (SELECT DISTINCT user_id FROM scored) AS s
  ON s.user_id = m.user_id
LEFT JOIN held_out AS h
  ON h.user_id = m.user_id
WHERE
  m.use_case = @use_case
  AND m.audience = @audience
  AND m.as_of = @as_of
