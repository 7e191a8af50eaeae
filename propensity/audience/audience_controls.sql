-- Part of audience_held_out.sql and others: users whom any audience of the control group
-- has held out by now.
-- Parameters: @control_group STRING.
-- Source: ma_audience_members.
  controls AS (
    SELECT DISTINCT user_id
    FROM ma_audience_members
    WHERE
      control_group = @control_group
      AND is_control
  )
