-- Stands in the place of members.sql for an audience that has ended.
  members AS (
    SELECT
      user_id,
      probability,
      percentile,
      expected_value,
      decile_value,
      effect,
      is_explored,
      attributes,
      is_control,
      FALSE AS is_newly_held_out
    FROM ma_audience_members
    WHERE FALSE
  )
