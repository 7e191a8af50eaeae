-- Part of audience_members.sql and others: users who may be members, with what is
-- published of them, if anything is.
-- Parameters: @use_case, @audience STRING; @who STRING, active, away or all; @as_of DATE;
--   those of features.sql, and of audience_people.sql.
-- Source: ma_predictions_history, and what eligible.sql reads.
  publication AS (
    SELECT
      user_id,
      probability,
      percentile,
      CAST(expected_value AS FLOAT64) AS expected_value,
      CAST(decile_value AS FLOAT64) AS decile_value
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @as_of
      -- include: audience_who.sql
  ),
  eligible AS (
    -- include: eligible.sql
  ),
-- include: audience_people.sql
  ,
  scored AS (
    SELECT
      o.*,
      p.user_id IS NOT NULL AS is_published,
      p.probability,
      p.percentile,
      p.expected_value,
      p.decile_value
    FROM people AS o
    LEFT JOIN publication AS p
      ON p.user_id = o.user_id
  )
