-- Part of audience_candidates.sql and audience_values.sql: users of a publication who
-- may be members, with what they are ordered by.
-- Parameters: @use_case, @audience, @order STRING, probability, expected_value or
--   effect; @who STRING, active, away or all; @as_of DATE; those of features.sql.
-- Source: ma_predictions_history, and what eligible.sql reads.
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
  scored AS (
    SELECT
      e.*,
      p.probability,
      p.percentile,
      p.expected_value,
      p.decile_value,
      p.effect,
      CASE @order
        WHEN 'expected_value' THEN p.expected_value
        WHEN 'effect' THEN p.effect
        ELSE p.probability
      END AS score
    FROM eligible AS e
    JOIN publication AS p
      ON p.user_id = e.user_id
  )
