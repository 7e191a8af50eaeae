-- One row per audience, as-of date and group, of a common table labelled: entries with
-- their label and amount. Intention to treat: whatever a destination made of them.
SELECT
  audience,
  as_of AS week,
  is_control,
  COUNT(*) AS users,
  SUM(label) AS conversions,
  SUM(amount) AS revenue,
  SUM(CAST(amount AS FLOAT64) * CAST(amount AS FLOAT64)) AS revenue_squares
FROM labelled
GROUP BY audience, as_of, is_control
