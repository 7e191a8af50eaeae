-- One row per member who was to be treated when chosen, and whom the control group has by
-- now.
-- Parameters: those of audience_controls.sql.
-- Source: the session's table chosen, and what audience_controls.sql reads.
WITH
-- include: audience_controls.sql
SELECT user_id
FROM chosen
WHERE
  is_member
  AND NOT is_control
  AND user_id IN (SELECT user_id FROM held_out)
