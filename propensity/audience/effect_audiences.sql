-- One row per audience whose newest plan asks for an order by effect, with its share of
-- the control group, and whether its newest look before a date opened the gate.
-- Parameters: @use_case STRING; @until DATE.
-- Source: ma_audience_plans, ma_audience_effects.
WITH
  plans AS (
-- include: newest_plans.sql
  ),
  looks AS (
    SELECT audience, is_open
    FROM ma_audience_effects
    WHERE
      use_case = @use_case
      AND as_of < @until
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY audience ORDER BY as_of DESC) = 1
  )
SELECT
  p.audience,
  p.control_share,
  IFNULL(l.is_open, FALSE) AS was_open
FROM plans AS p
LEFT JOIN looks AS l
  ON l.audience = p.audience
WHERE p.declared_order = 'effect'
ORDER BY p.audience
