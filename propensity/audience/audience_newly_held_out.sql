-- One row per member of an audience who was to be treated when chosen, and whom the
-- control group has by now.
-- Parameters: those of audience_scored.sql.
-- Source: what audience_scored.sql reads.
WITH
-- include: audience_scored.sql
SELECT user_id
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of = @as_of
  AND NOT is_control
  AND user_id IN (
    SELECT user_id FROM controls
    UNION ALL
    SELECT user_id FROM scored WHERE is_held_out
  )
