-- Common table held_out: users who are held out by now: by any audience of the control
-- group, or with the address of somebody who is. An address may have changed since.
-- Parameters: @control_group STRING.
-- Source: ma_audience_members, and the session's table scored.
  controls AS (
    SELECT DISTINCT user_id
    FROM ma_audience_members
    WHERE
      control_group = @control_group
      AND is_control
  ),
  held_out AS (
    SELECT user_id
    FROM controls
    UNION DISTINCT
    SELECT user_id
    FROM scored
    WHERE
      -- An audience's own statement may have rows of nobody.
      user_id IS NOT NULL
      AND person IN (SELECT person FROM scored JOIN controls USING (user_id))
  )
