-- One row per scope, name, as-of date and group, of a common table
-- labelled: entries with their label and amount. Intention to treat: whatever a
-- destination made of them. The probability is the one by which they became members: a
-- later publication of the date may know what the treatment did.
SELECT
  scope,
  name,
  as_of AS week,
  is_control,
  COUNT(*) AS users,
  SUM(label) AS conversions,
  SUM(amount) AS revenue,
  SUM(CAST(amount AS FLOAT64) * CAST(amount AS FLOAT64)) AS revenue_squares,
  SUM(probability) AS probability,
  SUM(probability * probability) AS probability_squares,
  SUM(probability * label) AS probability_conversions,
  SUM(probability * CAST(amount AS FLOAT64)) AS probability_revenue,
  IF(COUNTIF(cost IS NULL) > 0, NULL, SUM(cost)) AS cost,
  IF(COUNTIF(margin IS NULL) > 0, NULL, SUM(margin)) AS margins
FROM labelled
GROUP BY scope, name, as_of, is_control
