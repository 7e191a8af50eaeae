-- One row per member who was to be treated when chosen, and whom the control group has by
-- now: by the user id, or with the address of somebody else.
-- Parameters: those of audience_controls.sql.
-- Source: the session's tables chosen and scored, and ma_audience_members.
WITH
-- include: audience_controls.sql
SELECT m.user_id
FROM chosen AS m
LEFT JOIN scored AS s
  ON s.user_id = m.user_id
WHERE
  m.is_member
  AND NOT m.is_control
  AND (
    m.user_id IN (SELECT user_id FROM controls)
    OR s.person IN (
      SELECT o.person FROM scored AS o JOIN controls AS c ON c.user_id = o.user_id
    )
  )
