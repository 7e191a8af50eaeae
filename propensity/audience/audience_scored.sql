-- Part of audience_members.sql and others: users who may be members, with what is
-- published of them, if anything is, and whether they are held out by now.
-- Parameters: @use_case, @audience STRING; @who STRING, active, away or all; @as_of DATE;
--   those of features.sql, and of audience_held_out.sql.
-- Source: ma_predictions_history, and what eligible.sql and audience_held_out.sql read.
  publication AS (
    SELECT
      user_id,
      probability,
      percentile,
      CAST(expected_value AS FLOAT64) AS expected_value,
      CAST(decile_value AS FLOAT64) AS decile_value,
      (SELECT e.effect FROM UNNEST(effects) AS e WHERE e.audience = @audience) AS effect
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @as_of
      -- include: audience_who.sql
  ),
  eligible AS (
    -- include: eligible.sql
  ),
-- include: audience_held_out.sql
  ,
  scored AS (
    SELECT
      h.user_id,
      h.person,
      h.attributes,
      h.is_held_out,
      p.user_id IS NOT NULL AS is_published,
      p.probability,
      p.percentile,
      p.expected_value,
      p.decile_value,
      p.effect
    FROM held_out AS h
    LEFT JOIN publication AS p
      ON p.user_id = h.user_id
  )
